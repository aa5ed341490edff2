"""What an auditor does: hold every change against the policy that was in force, from history and nothing else."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from persistence.records import Change, ShardDiff


def broken_promises(changes: Sequence[Change], history: Sequence[ShardDiff]) -> Iterator[str]:
    """Every rule that a change broke, with the change's id. Nothing if the store kept to all policies."""
    policies: dict[str, Mapping[str, Any]] = {}
    held: Counter[str] = Counter()
    moved: list[ShardDiff] = []
    rows = iter(history)
    for change in changes:
        own = [next(rows) for _ in range(change.shard_count)]
        assert all(row.change.id == change.id for row in own)
        moves = [row for row in own if _is_move(row)]
        moved += moves
        for name in {row.namespace for row in own}:
            here = [row for row in moves if row.namespace == name]
            window = _within(moved, name, change.committed_at, policies[name])
            for rule in _broken(change, policies[name], held[name], len(here), window, {row.shard_id for row in here}):
                yield f"change {change.id} breaks {rule} of {name}"
        for row in own:
            held[row.namespace] += (row.previous is None) - (row.current is None)
        if change.configuration is not None and change.configuration.namespace is not None:
            policies[change.configuration.namespace] = change.configuration.current["policy"]


def _broken(
    change: Change,
    policy: Mapping[str, Any],
    held: int,
    moves: int,
    window: Sequence[ShardDiff],
    shards: set[str],
) -> Iterator[str]:
    if policy["ticketRequired"] and change.change_ticket is None:
        yield "TICKET_REQUIRED"
    if (
        policy["ticketPattern"]
        and change.change_ticket
        and not re.fullmatch(policy["ticketPattern"], change.change_ticket)
    ):
        yield "TICKET_PATTERN"
    if change.forced is not None:
        return
    for freeze in policy["freezes"]:
        if datetime.fromisoformat(freeze["begins"]) <= change.committed_at < datetime.fromisoformat(freeze["ends"]):
            yield "FREEZE"
    if moves > max(1, math.ceil(held * Decimal(str(policy["moveBudgetPercent"])) / 100)):
        yield "MOVE_BUDGET"
    if moves and policy["windowMoves"] is not None and len(window) > policy["windowMoves"]:
        yield "WINDOW_BUDGET"
    most = Counter(row.shard_id for row in window if row.shard_id in shards)
    if policy["shardWindowMoves"] is not None and any(count > policy["shardWindowMoves"] for count in most.values()):
        yield "SHARD_THRASH"


def _within(moved: Sequence[ShardDiff], name: str, end: datetime, policy: Mapping[str, Any]) -> Sequence[ShardDiff]:
    begin = end - timedelta(seconds=policy["windowSeconds"])
    return [row for row in moved if row.namespace == name and begin < row.change.committed_at <= end]


def _is_move(row: ShardDiff) -> bool:
    return bool(row.previous and row.current and row.previous.owner_node_id != row.current.owner_node_id)
