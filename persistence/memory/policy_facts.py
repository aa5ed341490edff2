"""What the policies of namespaces ask of the clock and of history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from persistence.memory.tables import Clock, Tables
from persistence.read_set import ReadSet
from persistence.records import Namespace, ShardKey
from persistence.writes import RecentMoves, counted, timed


def policy_facts(
    tables: Tables, namespaces: Iterable[Namespace], reads: ReadSet, clock: Clock
) -> tuple[datetime | None, datetime | None, RecentMoves]:
    """`now`, `clock` and `recent` of the state that is read."""
    asking = timed(namespaces, reads)
    if not asking:
        return None, None, RecentMoves()
    time = clock()
    now = max(time, tables.changes[-1].committed_at)
    moves: Counter[str] = Counter()
    of_shards: Counter[ShardKey] = Counter()
    for namespace in counted(asking, reads):
        begins = time - timedelta(seconds=namespace.policy.window_seconds)
        moved = [row for row in tables.history if row.namespace == namespace.name and row.moves]
        within = [row.key for row in moved if row.change.committed_at > begins]
        moves[namespace.name] = len(within)
        of_shards.update(within)
    return now, time, RecentMoves(moves, of_shards, tables.revision)
