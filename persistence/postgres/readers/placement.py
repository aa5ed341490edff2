"""Reading what placement depends on, in one snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any, Final, cast

from sqlalchemy import ARRAY, BigInteger, String, and_, bindparam, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.model.records import NodeStatus
from persistence.planning.snapshot import PlacedShard, PlacementSnapshot
from persistence.postgres.engine import translated
from persistence.postgres.readers.nodes import SELECT_NAMESPACE, SELECT_UNCOUNTED
from persistence.postgres.rows import namespace_of, node_of
from persistence.postgres.stream import read_head
from persistence.postgres.tables.current import NAMESPACES, NODES, SHARDS

_CHUNK: Final = 20_000
"""Shards a statement: as many as are read in some 20 ms, during which the event loop is blocked."""

_NAMESPACES: Final = SELECT_NAMESPACE.order_by(NAMESPACES.c.name)

_NAMED: Final = _NAMESPACES.where(NAMESPACES.c.name == func.any(bindparam("names", type_=ARRAY(String))))

_NODES: Final = SELECT_UNCOUNTED.where(NODES.c.status != NodeStatus.REMOVED).order_by(NODES.c.node_id)

_PINNED: Final = and_(
    SHARDS.c.pinned_by.is_not(None),
    or_(SHARDS.c.pinned_until.is_(None), SHARDS.c.pinned_until > func.transaction_timestamp()),
)

_CHUNK_OF_SHARDS: Final = (
    select(
        SHARDS.c.namespace,
        SHARDS.c.shard_id,
        SHARDS.c.owner_node_id,
        SHARDS.c.version,
        SHARDS.c.strategy,
        SHARDS.c.capacity_hint,
        SHARDS.c.locality_hint,
        _PINNED.label("pinned"),
        SHARDS.c.anti_affinity_group,
        SHARDS.c.leader_id,
    )
    .where(
        tuple_(SHARDS.c.namespace, SHARDS.c.shard_id) > tuple_(bindparam("namespace"), bindparam("shard_id")),
        SHARDS.c.namespace <= bindparam("last_namespace"),
    )
    .order_by(SHARDS.c.namespace, SHARDS.c.shard_id)
    .limit(bindparam("chunk", type_=BigInteger))
    .subquery()
)

# In columns: an array of twenty thousand is read in one go, that many rows one by one. A subquery that is ordered and
# nothing but aggregated reaches the aggregates in its order:
# https://www.postgresql.org/docs/current/functions-aggregate.html
_COLUMNS: Final = select(*(func.array_agg(column) for column in _CHUNK_OF_SHARDS.c))


class PostgresPlacement:
    """PlacementReader. One transaction of one snapshot, however many statements it takes."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read

    async def snapshot(self, namespaces: Collection[str] | None = None) -> PlacementSnapshot:
        with translated():
            async with self._read() as session:
                options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
                await session.connection(execution_options=options)
                head = await read_head(session)
                if namespaces is None:
                    found = await session.execute(_NAMESPACES)
                else:
                    found = await session.execute(_NAMED, {"names": list(namespaces)})
                spaces = [namespace_of(row) for row in found]
                nodes = [node_of(row) for row in await session.execute(_NODES)]
                names = [space.name for space in spaces]
                shards: dict[str, list[PlacedShard]] = {name: [] for name in names}
                # All of them are one range of keys, some are a range each.
                ranges = [(names[0], names[-1])] if names and namespaces is None else [(name, name) for name in names]
                for first, last in ranges:
                    async for columns in _chunks(session, first, last):
                        _sort_in(columns, shards)
        return PlacementSnapshot(head.position, spaces, nodes, shards)


async def _chunks(session: AsyncSession, first: str, last: str) -> AsyncIterator[Sequence[Any]]:
    """The shards of the namespaces from `first` to `last`, in columns."""
    namespace, shard_id, full = first, "", True
    while full:
        values = {"namespace": namespace, "shard_id": shard_id, "last_namespace": last, "chunk": _CHUNK}
        columns: Sequence[Any] = (await session.execute(_COLUMNS, values)).one()
        if columns[0] is None:
            return
        yield columns
        namespace, shard_id, full = columns[0][-1], columns[1][-1], len(columns[0]) == _CHUNK


# What a named tuple's own constructor comes down to, at a third of its price.
_PLACED: Final = cast("Callable[[Iterable[Any]], PlacedShard]", partial(tuple.__new__, PlacedShard))


def _sort_in(columns: Sequence[Any], shards: dict[str, list[PlacedShard]]) -> None:
    namespaces, ids, owners, versions, strategies, capacities, hints, pinned, groups, leaders = columns
    strategies, hints, groups, leaders = (_shared(values) for values in (strategies, hints, groups, leaders))
    rows = zip(ids, _shared(owners), versions, strategies, capacities, hints, pinned, groups, leaders, strict=True)
    placed = list(map(_PLACED, rows))
    start = 0
    for name, count in Counter(namespaces).items():  # in order of appearance, and that is sorted
        shards[name] += placed[start : start + count]
        start += count


def _shared(values: Sequence[Any]) -> Iterable[Any]:
    """Equal values as one object: a million shards have few owners, and names take more room than anything else."""
    known: dict[Any, Any] = {}
    return map(known.setdefault, values, values)
