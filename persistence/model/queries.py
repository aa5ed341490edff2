"""Filters of the store's lists. Fields that are null do not restrict; an empty list matches nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from string import ascii_lowercase, ascii_uppercase
from typing import Final, NamedTuple, Self

from persistence.model.fields import (
    check_fields,
    identifier_problem,
    name_problem,
    plan_id_problem,
    search_problem,
    stored_text_problem,
)
from persistence.model.plans import PlanKind, PlanStatus
from persistence.model.records import (
    Change,
    ChangeKind,
    DiffKind,
    MoveReason,
    NodeStatus,
    Shard,
    ShardDiff,
    ShardStatus,
)

_NAMESPACE_NEEDED: Final = "is needed with shardId: shard ids are unique within a namespace only"


def _range_problem(since: datetime | None, until: datetime | None) -> str | None:
    """Of times from `since` on and before `until`: nothing lies in a range that ends before it begins."""
    if since is None or until is None or since < until:
        return None
    return f"must be after since, {since.isoformat()}"


class HistoryOrder(StrEnum):
    REVISION_ASC = "REVISION_ASC"
    REVISION_DESC = "REVISION_DESC"


@dataclass(frozen=True, slots=True)
class ShardFilter:
    """`search` is a fragment of the shard id, matched as it is written, case and all. `pinned`: whether there is a pin,
    in force or not. Can be hashed, whatever sequences it was given."""

    namespace: str | None = None
    shard_ids: Sequence[str] | None = None
    owner_node_ids: Sequence[str] | None = None
    leader_ids: Sequence[str] | None = None
    statuses: Sequence[ShardStatus] | None = None
    strategies: Sequence[str] | None = None
    change_ticket: str | None = None
    search: str | None = None
    pinned: bool | None = None

    def __post_init__(self) -> None:
        for name in ("shard_ids", "owner_node_ids", "leader_ids", "statuses", "strategies"):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, tuple(values))

    def checked(self) -> Self:
        """Itself. Raises InvalidArgument naming `filter.` and the field, as every filter does."""
        check_fields(
            "filter.",
            ("namespace", name_problem, self.namespace),
            ("shardIds", identifier_problem, self.shard_ids),
            ("ownerNodeIds", identifier_problem, self.owner_node_ids),
            ("leaderIds", identifier_problem, self.leader_ids),
            ("strategies", identifier_problem, self.strategies),
            ("changeTicket", stored_text_problem, self.change_ticket),
            ("search", search_problem, self.search),
        )
        return self

    @property
    def is_of_namespace_only(self) -> bool:
        """Whether it matches every shard of its namespace, or of all."""
        return (
            self.shard_ids is None
            and self.owner_node_ids is None
            and self.leader_ids is None
            and self.statuses is None
            and self.strategies is None
            and self.change_ticket is None
            and self.search is None
            and self.pinned is None
        )

    def matches(self, shard: Shard) -> bool:
        return (
            (self.namespace is None or shard.namespace == self.namespace)
            and (self.shard_ids is None or shard.shard_id in self.shard_ids)
            and (self.owner_node_ids is None or shard.owner_node_id in self.owner_node_ids)
            and (self.leader_ids is None or shard.leader_id in self.leader_ids)
            and (self.statuses is None or shard.status in self.statuses)
            and (self.strategies is None or shard.strategy in self.strategies)
            and (self.change_ticket is None or shard.change_ticket == self.change_ticket)
            and (self.search is None or self.search in shard.shard_id)
            and (self.pinned is None or self.pinned is (shard.pinned is not None))
        )


EVERY_SHARD = ShardFilter()


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Changes that touched `namespace`, by `actor`, under `change_ticket`, about a plan, of the configuration of a
    node, in [`since`, `until`), of ids up to `up_to_id`. `search` is a fragment of reason, actor, ticket, or of why a
    change was `forced`, in which letters from A to Z may be of either case."""

    namespace: str | None = None
    actor: str | None = None
    change_ticket: str | None = None
    kinds: Sequence[ChangeKind] | None = None
    plan_id: str | None = None
    up_to_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    node_id: str | None = None
    forced: bool | None = None
    search: str | None = None

    def __post_init__(self) -> None:
        if self.kinds is not None:
            object.__setattr__(self, "kinds", tuple(self.kinds))

    def checked(self) -> Self:
        check_fields(
            "filter.",
            ("namespace", name_problem, self.namespace),
            ("actor", stored_text_problem, self.actor),
            ("changeTicket", stored_text_problem, self.change_ticket),
            ("planId", plan_id_problem, self.plan_id),
            ("nodeId", identifier_problem, self.node_id),
            ("search", search_problem, self.search),
            ("until", None, _range_problem(self.since, self.until)),
        )
        return self

    def matches(self, change: Change) -> bool:
        configuration, rebalance = change.configuration, change.rebalance
        return (
            (self.namespace is None or self.namespace in change.namespaces)
            and (self.actor is None or change.actor == self.actor)
            and (self.change_ticket is None or change.change_ticket == self.change_ticket)
            and (self.kinds is None or change.kind in self.kinds)
            and (self.plan_id is None or (rebalance is not None and rebalance.plan_id == self.plan_id))
            and (self.up_to_id is None or change.id <= self.up_to_id)
            and (self.since is None or change.committed_at >= self.since)
            and (self.until is None or change.committed_at < self.until)
            and (self.node_id is None or (configuration is not None and configuration.node_id == self.node_id))
            and (self.forced is None or self.forced is (change.forced is not None))
            and (self.search is None or self._is_in(change))
        )

    def _is_in(self, change: Change) -> bool:
        wanted = (self.search or "").translate(_LOWER)
        texts = (change.reason, change.actor, change.change_ticket, change.forced)
        return any(wanted in text.translate(_LOWER) for text in texts if text is not None)


_LOWER: Final = str.maketrans(ascii_uppercase, ascii_lowercase)


@dataclass(frozen=True, slots=True)
class RefusalFilter:
    """Refusals that concern `namespace`, of requests by `actor`, under `change_ticket`, in [`since`, `until`)."""

    namespace: str | None = None
    actor: str | None = None
    change_ticket: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def checked(self) -> Self:
        check_fields(
            "filter.",
            ("namespace", name_problem, self.namespace),
            ("actor", stored_text_problem, self.actor),
            ("changeTicket", stored_text_problem, self.change_ticket),
            ("until", None, _range_problem(self.since, self.until)),
        )
        return self


@dataclass(frozen=True, slots=True)
class NodeFilter:
    """Without `statuses` every node but the removed ones."""

    statuses: Sequence[NodeStatus] | None = None
    regions: Sequence[str] | None = None
    zones: Sequence[str] | None = None

    def checked(self) -> Self:
        check_fields(
            "filter.", ("regions", identifier_problem, self.regions), ("zones", identifier_problem, self.zones)
        )
        return self


@dataclass(frozen=True, slots=True)
class PlanFilter:
    """Plans that cover `namespace`."""

    namespace: str | None = None
    statuses: Sequence[PlanStatus] | None = None
    kinds: Sequence[PlanKind] | None = None

    def checked(self) -> Self:
        check_fields("filter.", ("namespace", name_problem, self.namespace))
        return self


@dataclass(frozen=True, slots=True)
class ShardHistoryFilter:
    """Rows of history. `owner_node_id` matches where the node owned the shard before or after; `owner_changed` where it
    was there before and after, with another owner.
    """

    namespace: str | None = None
    shard_id: str | None = None
    owner_node_id: str | None = None
    kinds: Sequence[DiffKind] | None = None
    actor: str | None = None
    change_ticket: str | None = None
    change_id: int | None = None
    move_reasons: Sequence[MoveReason] | None = None
    owner_changed: bool | None = None
    since: datetime | None = None
    until: datetime | None = None

    def checked(self) -> Self:
        check_fields(
            "filter.",
            ("namespace", name_problem, self.namespace),
            ("shardId", identifier_problem, self.shard_id),
            ("ownerNodeId", identifier_problem, self.owner_node_id),
            ("namespace", None, _NAMESPACE_NEEDED if self.shard_id is not None and self.namespace is None else None),
            ("actor", stored_text_problem, self.actor),
            ("changeTicket", stored_text_problem, self.change_ticket),
            ("until", None, _range_problem(self.since, self.until)),
        )
        return self


class DiffDetail(NamedTuple):
    """What of rows of history is read beside the least: `images`, the shard before and after; `image_times`, their
    revisions and times; `whole_change`, of the change also its metadata, namespaces, revisions, count and hash. Without
    images, `owners`: of the shard before and after, its key and owner."""

    images: bool
    image_times: bool
    whole_change: bool
    owners: bool = False


@dataclass(frozen=True, slots=True)
class DiffFilter:
    """The diffs that a subscriber follows: of shards that matched before the change or match after it."""

    namespace: str | None = None
    shards: ShardFilter = EVERY_SHARD

    @property
    def only_namespace(self) -> str | None:
        """The namespace that no diff of another one matches; null if there is none."""
        return self.namespace or self.shards.namespace

    def may_match_in(self, namespaces: Collection[str]) -> bool:
        """Whether a diff of one of these namespaces could match."""
        return all(name is None or name in namespaces for name in (self.namespace, self.shards.namespace))

    def matches(self, diff: ShardDiff) -> bool:
        if self.namespace is not None and diff.namespace != self.namespace:
            return False
        return any(side is not None and self.shards.matches(side) for side in (diff.previous, diff.current))
