"""A namespace's policy, which bounds the changes of its shards, and the rules that it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Final


class PolicyRule(StrEnum):
    """A rule that can refuse a change."""

    TICKET_REQUIRED = "TICKET_REQUIRED"
    TICKET_PATTERN = "TICKET_PATTERN"
    APPROVAL_REQUIRED = "APPROVAL_REQUIRED"
    SELF_APPROVAL = "SELF_APPROVAL"
    REGISTRATION_REQUIRED = "REGISTRATION_REQUIRED"
    MOVE_BUDGET = "MOVE_BUDGET"
    WINDOW_BUDGET = "WINDOW_BUDGET"
    SHARD_THRASH = "SHARD_THRASH"
    FREEZE = "FREEZE"
    PIN = "PIN"
    ANTI_AFFINITY = "ANTI_AFFINITY"


@dataclass(frozen=True, slots=True)
class FreezeWindow:
    """Changes of shards are refused from `begins` (included) until `ends` (excluded)."""

    begins: datetime
    ends: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class RecurringFreeze:
    """Changes are refused again and again: for `duration` (ISO 8601) from each time of `schedule` (cron) on, which are
    local times of `time_zone` (IANA). None begins at `until` or later. `recurring_freezes` works out when that is.
    """

    schedule: str
    duration: str
    time_zone: str
    reason: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class NamespacePolicy:
    """Bounds of the changes of a namespace's shards. A move is a change of owner of a shard that is there.

    `ticket_pattern` must match the whole ticket (RE2 syntax). `approval_required`: a plan is applied only after another
    actor than its submitter approved it. `move_budget_percent` is of the namespace's shards, for one change.
    `window_moves` bounds the moves of the namespace, and `shard_window_moves` those of each shard, in any
    `window_seconds` seconds; null for no bound. `involuntary_moves_limited`: budget, windows and freezes hold up moves
    off nodes that are DOWN or REMOVED as well, which they do not count otherwise. `owners_must_be_registered`: shards
    are given no owner and no leader that is not registered, or removed.
    """

    ticket_required: bool = False
    ticket_pattern: str | None = None
    approval_required: bool = False
    move_budget_percent: float = 10.0
    window_seconds: int = 3600
    window_moves: int | None = None
    shard_window_moves: int | None = None
    involuntary_moves_limited: bool = False
    owners_must_be_registered: bool = False
    freezes: tuple[FreezeWindow, ...] = ()
    recurring_freezes: tuple[RecurringFreeze, ...] = ()

    def digested(self) -> dict[str, Any]:
        """By name what a digest covers. Rules that came later are left out at their defaults: requests without them
        have the digest that they had."""
        rules = {member.name: (getattr(self, member.name), member.default) for member in fields(self)}
        return {name: value for name, (value, default) in rules.items() if name not in _LATER or value != default}


_LATER: Final = frozenset({"involuntary_moves_limited", "owners_must_be_registered", "recurring_freezes"})


DEFAULT_POLICY: Final = NamespacePolicy()


@dataclass(frozen=True, slots=True)
class NamespaceConfiguration:
    """How a namespace's shards are placed, and what bounds their changes.

    `algorithm_version` is that of the strategy: of what is to be configured, the one that the server has, null for a
    strategy that it does not have.
    """

    strategy: str
    strategy_parameters: Mapping[str, Any]
    algorithm_version: int | None
    policy: NamespacePolicy


def broken_rule_message(rule: str, namespace: str, shard_id: str | None, actual: str, allowed: str, remedy: str) -> str:
    """For example `MOVE_BUDGET of orders: 12 % move; allowed: 10 %. Apply the plan in waves.`"""
    name = namespace if shard_id is None else f"{namespace}/{shard_id}"
    return f"{rule} of {name}: {actual}; allowed: {allowed}. {remedy}"
