"""What the policies of locked namespaces ask of the clock and of history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from persistence.locks import Locks
from persistence.memory.tables import Clock, Tables
from persistence.records import Namespace, ShardKey
from persistence.writes import RecentMoves, counted, timed


def policy_facts(
    tables: Tables, namespaces: Iterable[Namespace], locks: Locks, clock: Clock
) -> tuple[datetime | None, RecentMoves]:
    """`now` and `recent` of the state that is locked."""
    asking = timed(namespaces, locks)
    if not asking:
        return None, RecentMoves()
    now = max(clock(), tables.changes[-1].committed_at)
    moves: Counter[str] = Counter()
    of_shards: Counter[ShardKey] = Counter()
    for namespace in counted(asking, locks):
        begins = now - timedelta(seconds=namespace.policy.window_seconds)
        moved = [row for row in tables.history if row.namespace == namespace.name and row.moves]
        within = [row.key for row in moved if row.change.committed_at > begins]
        moves[namespace.name] = len(within)
        of_shards.update(within)
    return now, RecentMoves(moves, of_shards)
