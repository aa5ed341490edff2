"""Counting shards by namespace, owner and status, and finding who owns any."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Numeric, Text, bindparam, cast, func, select, true
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.model.records import ShardStatus
from persistence.ports.readers import CAPACITY_UNITS, ShardCount, Stamped
from persistence.postgres.database import head_missing
from persistence.postgres.readers.keyset import fetch
from persistence.postgres.reads import Read
from persistence.postgres.stream import CURRENT, HEAD, head_of
from persistence.postgres.tables.current import SHARDS

_COLUMNS: Final = SHARDS.c

# By way of text: a cast to numeric keeps 15 digits of a double.
_CAPACITY: Final = func.round(cast(cast(_COLUMNS.capacity_hint, Text), Numeric) * CAPACITY_UNITS)


def _counts(*, of_namespace: bool) -> Read:
    grouped = (_COLUMNS.namespace, _COLUMNS.owner_node_id, _COLUMNS.status)
    counted = select(*grouped, func.count().label("shards"), func.sum(_CAPACITY).label("capacity")).group_by(*grouped)
    if of_namespace:
        counted = counted.where(_COLUMNS.namespace == bindparam("namespace", type_=_COLUMNS.namespace.type))
    found = counted.subquery()
    return Read(select(*HEAD, *found.c).select_from(CURRENT).outerjoin(found, true()))


_OF_ALL: Final = _counts(of_namespace=False)

_OF_NAMESPACE: Final = _counts(of_namespace=True)


def _owners() -> Read:
    """One probe of the index for each owner: the next one after the last."""
    owner = _COLUMNS.owner_node_id
    first = select(func.min(owner).label("owner")).cte("owners", recursive=True)
    following = select(func.min(owner)).where(owner > first.c.owner).scalar_subquery()
    owners = first.union_all(select(following).where(first.c.owner.is_not(None)))
    return Read(select(owners.c.owner).where(owners.c.owner.is_not(None)))


_OWNERS: Final = _owners()


class PostgresTotals:
    """ShardTotals. Counting reads all of the table, or of the namespace."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read

    async def counts(self, namespace: str | None = None) -> Stamped[Sequence[ShardCount]]:
        rows = await fetch(self._read, _OF_ALL if namespace is None else _OF_NAMESPACE, {"namespace": namespace})
        if not rows:
            raise head_missing()
        size = len(HEAD)
        counts = [
            ShardCount(name, node_id, ShardStatus(status), shards, int(capacity))
            for name, node_id, status, shards, capacity in (row[size:] for row in rows if row[size] is not None)
        ]
        return Stamped(counts, head_of(rows[0][:size]).position)

    async def owners(self) -> Collection[str]:
        return {owner for (owner,) in await fetch(self._read, _OWNERS, {})}
