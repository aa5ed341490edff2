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
            rows_here = [row for row in own if row.namespace == name]
            broken += (f"{rule} of {name}" for rule in _broken(change, policies[name], held[name], rows_here, moved))
        for rule in broken:
            yield f"change {change.id} breaks {rule}"
        for row in own:
            held[row.namespace] += (row.previous is None) - (row.current is None)
        if change.configuration is not None and change.configuration.namespace is not None:
            policies[change.configuration.namespace] = change.configuration.current["policy"]


class _Moves:
    """When what was moved, of all changes so far: the times of each list never run backwards."""

    def __init__(self) -> None:
        # By whether they were chosen.
        self._namespaces: dict[tuple[str, bool], list[datetime]] = defaultdict(list)
        self._shards: dict[tuple[ShardKey, bool], list[datetime]] = defaultdict(list)

    def add(self, rows: Sequence[ShardDiff]) -> None:
        for row in rows:
            if row.moves:
                self._namespaces[row.namespace, _is_chosen(row)].append(row.change.committed_at)
                self._shards[row.key, _is_chosen(row)].append(row.change.committed_at)

    def of_namespace(self, name: str, begin: datetime, limited: Sequence[bool]) -> int:
        """After `begin`, until now."""
        return sum(_after(self._namespaces[name, chosen], begin) for chosen in limited)

    def of_shard(self, key: ShardKey, begin: datetime, limited: Sequence[bool]) -> int:
        return sum(_after(self._shards[key, chosen], begin) for chosen in limited)


def _is_chosen(row: ShardDiff) -> bool:
    return str(row.move_reason) not in ("OWNER_DOWN", "OWNER_REMOVED")


def _after(times: Sequence[datetime], begin: datetime) -> int:
    return len(times) - bisect_right(times, begin)


def _broken(
    change: Change, policy: Mapping[str, Any], held: int, rows: Sequence[ShardDiff], moved: _Moves
) -> Iterator[str]:
    """`rows` are those of the change of one namespace; `moved` counts its moves already."""
    if policy["ticketRequired"] and change.change_ticket is None:
        yield "TICKET_REQUIRED"
    if (
        policy["ticketPattern"]
        and change.change_ticket
        and not re.fullmatch(policy["ticketPattern"], change.change_ticket)
    ):
        yield "TICKET_PATTERN"
    limited = (True, False) if policy.get("involuntaryMovesLimited") else (True,)
    rows = [row for row in rows if _is_chosen(row) in limited]
    if change.forced is None and rows:
        yield from _beyond_limits(change, policy, held, rows, moved, limited)


def _beyond_limits(
    change: Change,
    policy: Mapping[str, Any],
    held: int,
    rows: Sequence[ShardDiff],
    moved: _Moves,
    limited: Sequence[bool],
) -> Iterator[str]:
    """`rows` are those that the policy limits: what was chosen, or (True, False) all."""
    here = [row.key for row in rows if row.moves]
    for freeze in policy["freezes"]:
        if datetime.fromisoformat(freeze["begins"]) <= change.committed_at < datetime.fromisoformat(freeze["ends"]):
            yield "FREEZE"
    if len(here) > max(1, math.ceil(held * Decimal(str(policy["moveBudgetPercent"])) / 100)):
        yield "MOVE_BUDGET"
    if not here:
        return
    begin = change.committed_at - timedelta(seconds=policy["windowSeconds"])
    most, most_of_each = policy["windowMoves"], policy["shardWindowMoves"]
    if most is not None and moved.of_namespace(here[0].namespace, begin, limited) > most:
        yield "WINDOW_BUDGET"
    if most_of_each is not None and any(moved.of_shard(key, begin, limited) > most_of_each for key in here):
        yield "SHARD_THRASH"
