"""What an auditor does: hold every change against the rules that were in force, from history and nothing else.

The rules of policies are counted here, what concerns plans in `recount_plans.py`, pins and groups in
`recount_places.py`.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from persistence.model.records import Change, ShardDiff, ShardKey
from tests.support.recount_places import PlaceAuditor
from tests.support.recount_plans import PlanAuditor


def broken_promises(changes: Sequence[Change], history: Sequence[ShardDiff]) -> Iterator[str]:
    """Every rule that a change broke, with the change's id. Nothing if the store kept to all of them.

    All changes and all rows there are, in order.
    """
    policies: dict[str, Mapping[str, Any]] = {}
    held: Counter[str] = Counter()
    moved, plans, places = _Moves(), PlanAuditor(), PlaceAuditor()
    rows = iter(history)
    for change in changes:
        own = [next(rows) for _ in range(change.shard_count)]
        assert all(row.change.id == change.id for row in own)
        moved.add(own)
        broken = [*plans.broken(change, own, policies), *places.broken(change, own)]
        for name in {row.namespace for row in own}:
            here = [row.key for row in own if row.namespace == name and row.moves]
            broken += (f"{rule} of {name}" for rule in _broken(change, policies[name], held[name], here, moved))
        for rule in broken:
            yield f"change {change.id} breaks {rule}"
        for row in own:
            held[row.namespace] += (row.previous is None) - (row.current is None)
        if change.configuration is not None and change.configuration.namespace is not None:
            policies[change.configuration.namespace] = change.configuration.current["policy"]


class _Moves:
    """When what was moved, of all changes so far: the times of each list never run backwards."""

    def __init__(self) -> None:
        self._namespaces: dict[str, list[datetime]] = defaultdict(list)
        self._shards: dict[ShardKey, list[datetime]] = defaultdict(list)

    def add(self, rows: Sequence[ShardDiff]) -> None:
        for row in rows:
            if row.moves:
                self._namespaces[row.namespace].append(row.change.committed_at)
                self._shards[row.key].append(row.change.committed_at)

    def of_namespace(self, name: str, begin: datetime) -> int:
        """After `begin`, until now."""
        return _after(self._namespaces[name], begin)

    def of_shard(self, key: ShardKey, begin: datetime) -> int:
        return _after(self._shards[key], begin)


def _after(times: Sequence[datetime], begin: datetime) -> int:
    return len(times) - bisect_right(times, begin)


def _broken(
    change: Change, policy: Mapping[str, Any], held: int, here: Sequence[ShardKey], moved: _Moves
) -> Iterator[str]:
    """`here` are the shards of one namespace that the change moves; `moved` counts them already."""
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
    if len(here) > max(1, math.ceil(held * Decimal(str(policy["moveBudgetPercent"])) / 100)):
        yield "MOVE_BUDGET"
    if not here:
        return
    begin = change.committed_at - timedelta(seconds=policy["windowSeconds"])
    most, most_of_each = policy["windowMoves"], policy["shardWindowMoves"]
    if most is not None and moved.of_namespace(here[0].namespace, begin) > most:
        yield "WINDOW_BUDGET"
    if most_of_each is not None and any(moved.of_shard(key, begin) > most_of_each for key in here):
        yield "SHARD_THRASH"
