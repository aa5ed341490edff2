"""Inputs of queries and subscriptions: filters, and moments of the past."""

from datetime import datetime

import strawberry

import graph.enums  # noqa: F401 - registers the enums these types name
from graph.inputs.values import change_id
from graph.scalars import Revision
from persistence import queries, records
from persistence.fields import Problems
from persistence.records import ChangeKind, DiffKind, MoveReason, ShardStatus

_NO_RESTRICTION = "Null or an empty list does not restrict. At most 1,000 values."


@strawberry.input(one_of=True, description="A moment of the past: exactly one of its fields.")
class AsOf:
    revision: Revision | None = strawberry.field(
        default=strawberry.UNSET, description="As the table stood right after this revision."
    )
    time: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="As the table stood at this moment; now, if it lies in the future."
    )

    def moment(self) -> records.AsOf:
        if self.time is strawberry.UNSET:
            return records.AsOf(revision=self.revision)
        return records.AsOf(time=self.time)


@strawberry.input(description="Which shards. All fields must match; within a list, any value.")
class ShardFilter:
    namespace: str | None = strawberry.field(default=None, description="Of this namespace.")
    shard_ids: list[str] | None = strawberry.field(
        default=None, description=f"With one of these ids. {_NO_RESTRICTION}"
    )
    owner_node_ids: list[str] | None = strawberry.field(
        default=None, description=f"Owned by one of these nodes. {_NO_RESTRICTION}"
    )
    leader_ids: list[str] | None = strawberry.field(
        default=None, description=f"Led by one of these replicas. {_NO_RESTRICTION}"
    )
    statuses: list[ShardStatus] | None = strawberry.field(
        default=None, description=f"In one of these states. {_NO_RESTRICTION}"
    )
    strategies: list[str] | None = strawberry.field(
        default=None, description=f"Placed by one of these strategies. {_NO_RESTRICTION}"
    )
    change_ticket: str | None = strawberry.field(default=None, description="Whose last change has this ticket.")
    search: str | None = strawberry.field(
        default=None,
        description="Whose id contains this, case and all. 1 to 128 characters.",
    )


def shard_filter(given: ShardFilter | None) -> queries.ShardFilter:
    """Raises InvalidArgument naming `filter.` and the field."""
    if given is None:
        return queries.ShardFilter()
    where = queries.ShardFilter(
        namespace=given.namespace,
        shard_ids=given.shard_ids or None,
        owner_node_ids=given.owner_node_ids or None,
        leader_ids=given.leader_ids or None,
        statuses=given.statuses or None,
        strategies=given.strategies or None,
        change_ticket=given.change_ticket,
        search=given.search,
    )
    _check(where)
    return where


@strawberry.input(description="Which rows of history. All fields must match.")
class ShardHistoryFilter:
    namespace: str | None = strawberry.field(default=None, description="Of shards of this namespace.")
    shard_id: str | None = strawberry.field(default=None, description="Of this shard; needs `namespace`.")
    owner_node_id: str | None = strawberry.field(
        default=None, description="Of shards this node owned, before or after the change."
    )
    kinds: list[DiffKind] | None = strawberry.field(
        default=None, description="Of one of these kinds. Null or an empty list does not restrict."
    )
    actor: str | None = strawberry.field(default=None, description="Made by this actor.")
    change_ticket: str | None = strawberry.field(default=None, description="Made under this ticket.")
    change_id: strawberry.ID | None = strawberry.field(default=None, description="Made by this change.")
    move_reasons: list[MoveReason] | None = strawberry.field(
        default=None,
        description="Made by a rebalance, for one of these reasons. Null or an empty list does not restrict.",
    )
    since: datetime | None = strawberry.field(default=None, description="Committed at this moment or later.")
    until: datetime | None = strawberry.field(default=None, description="Committed before this moment.")


def history_filter(given: ShardHistoryFilter | None) -> queries.ShardHistoryFilter:
    """Raises InvalidArgument naming `filter.` and the field."""
    if given is None:
        return queries.ShardHistoryFilter()
    where = queries.ShardHistoryFilter(
        namespace=given.namespace,
        shard_id=given.shard_id,
        owner_node_id=given.owner_node_id,
        kinds=given.kinds or None,
        actor=given.actor,
        change_ticket=given.change_ticket,
        change_id=None if given.change_id is None else change_id("filter.changeId", given.change_id),
        move_reasons=given.move_reasons or None,
        since=given.since,
        until=given.until,
    )
    _check(where)
    return where


@strawberry.input(description="Which changes. All fields must match.")
class ChangeFilter:
    namespace: str | None = strawberry.field(default=None, description="That touched this namespace.")
    actor: str | None = strawberry.field(default=None, description="Made by this actor.")
    change_ticket: str | None = strawberry.field(default=None, description="Made under this ticket.")
    kinds: list[ChangeKind] | None = strawberry.field(
        default=None, description="Of one of these kinds. Null or an empty list does not restrict."
    )
    plan_id: strawberry.ID | None = strawberry.field(
        default=None, description="About this plan: what it was proposed, approved, applied, stopped or rejected by."
    )
    since: datetime | None = strawberry.field(default=None, description="Committed at this moment or later.")
    until: datetime | None = strawberry.field(default=None, description="Committed before this moment.")


def change_filter(given: ChangeFilter | None) -> queries.ChangeFilter:
    """Raises InvalidArgument naming `filter.` and the field."""
    if given is None:
        return queries.ChangeFilter()
    where = queries.ChangeFilter(
        namespace=given.namespace,
        actor=given.actor,
        change_ticket=given.change_ticket,
        kinds=given.kinds or None,
        plan_id=given.plan_id,
        since=given.since,
        until=given.until,
    )
    _check(where)
    return where


@strawberry.input(description="Which refusals. All fields must match.")
class RefusalFilter:
    namespace: str | None = strawberry.field(default=None, description="Of requests that named this namespace.")
    actor: str | None = strawberry.field(default=None, description="Of requests by this actor.")
    change_ticket: str | None = strawberry.field(default=None, description="Of requests under this ticket.")
    since: datetime | None = strawberry.field(default=None, description="Refused at this moment or later.")
    until: datetime | None = strawberry.field(default=None, description="Refused before this moment.")


def refusal_filter(given: RefusalFilter | None) -> queries.RefusalFilter:
    """Raises InvalidArgument naming `filter.` and the field."""
    if given is None:
        return queries.RefusalFilter()
    where = queries.RefusalFilter(
        namespace=given.namespace,
        actor=given.actor,
        change_ticket=given.change_ticket,
        since=given.since,
        until=given.until,
    )
    _check(where)
    return where


def _check(
    where: queries.ShardFilter | queries.ShardHistoryFilter | queries.ChangeFilter | queries.RefusalFilter,
) -> None:
    problems = Problems()
    where.add_problems(problems)
    problems.raise_if_any()
