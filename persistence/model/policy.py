"""A namespace's policy, which bounds the changes of its shards, and the rules that it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final


class PolicyRule(StrEnum):
    """A rule that can refuse a change."""

    TICKET_REQUIRED = "TICKET_REQUIRED"
    TICKET_PATTERN = "TICKET_PATTERN"
    APPROVAL_REQUIRED = "APPROVAL_REQUIRED"
    SELF_APPROVAL = "SELF_APPROVAL"
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
class NamespacePolicy:
    """Bounds of the changes of a namespace's shards. A move is a change of owner of a shard that is there.

    `ticket_pattern` must match the whole ticket (RE2 syntax). `approval_required`: a plan is applied only after another
    actor than its submitter approved it. `move_budget_percent` is of the namespace's shards, for one change.
    `window_moves` bounds the moves of the namespace, and `shard_window_moves` those of each shard, in any
    `window_seconds` seconds; null for no bound. `involuntary_moves_limited`: budget, windows and freezes hold up moves
    off nodes that are DOWN or REMOVED as well, which they do not count otherwise.
    """

    ticket_required: bool = False
    ticket_pattern: str | None = None
    approval_required: bool = False
    move_budget_percent: float = 10.0
    window_seconds: int = 3600
    window_moves: int | None = None
    shard_window_moves: int | None = None
    involuntary_moves_limited: bool = False
    freezes: tuple[FreezeWindow, ...] = ()


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
