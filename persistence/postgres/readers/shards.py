"""Reading the shard table, as it is and as of a revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Subquery,
    Text,
    bindparam,
    cast,
    func,
    literal,
    select,
    true,
    union,
)
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.codec.images import read_image
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import AsOf, Shard, ShardKey, StreamPosition
from persistence.ports import Stamped
from persistence.postgres.database import head_missing
from persistence.postgres.engine import translated
from persistence.postgres.readers.keyset import (
    CACHED_STATEMENTS,
    AnySelect,
    PageShape,
    Restriction,
    beside,
    conditions,
    contains_text,
    each,
    equals,
    filter_values,
    one_of,
    page_beside,
    page_shape,
    page_values,
    used_fields,
)
from persistence.postgres.rows import SHARD, shard_of
from persistence.postgres.stream import HEAD, head_of, mark_after, read_mark, require_servable, revision_of
from persistence.postgres.tables.current import SHARDS, TOMBSTONES
from persistence.postgres.tables.history import CHANGES, HISTORY


class PostgresShards:
    """ShardReader. Page, count and the position they are exact at come from one statement, so from one snapshot."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read

    async def get(self, key: ShardKey, as_of: AsOf | None = None) -> Stamped[Shard | None]:
        where = ShardFilter(namespace=key.namespace, shard_ids=(key.shard_id,))
        found = await self.page(where, PageRequest(1), as_of)
        return Stamped(next(iter(found.value.items), None), found.position)

    async def page(
        self, where: ShardFilter, page: PageRequest[ShardKey], as_of: AsOf | None = None
    ) -> Stamped[Page[Shard]]:
        used, shape = used_fields(where), page_shape(page)
        values = filter_values(where) | page_values(page)
        with translated():
            async with self._read() as session:
                if as_of is None:
                    rows = await _rows(session, _page(used, shape), values)
                    return Stamped(page_beside(rows, page, each(shard_of), _HEAD), head_of(rows[0][:_HEAD]).position)
                revision = await revision_of(session, as_of)
                rows = await _rows(session, _page_as_of(used, shape), values | {"as_of": revision})
        *columns, mark = rows[0][: _HEAD + 1]
        head = head_of(columns)
        require_servable(revision, head)
        found = page_beside(rows, page, each(_shard_as_of), _HEAD + 1)
        return Stamped(found, StreamPosition(head.epoch, revision, read_mark(mark, revision)))


_HEAD: Final = len(HEAD)

_AS_OF: Final = bindparam("as_of", type_=BigInteger)


async def _rows(session: AsyncSession, statement: AnySelect, values: Mapping[str, Any]) -> Sequence[Any]:
    """Rows that begin with the head. Raises SchemaOutOfDate without one."""
    rows = (await session.execute(statement, values)).all()
    if not rows:
        raise head_missing()
    return rows


def _shard_as_of(row: Sequence[Any]) -> Shard:
    """From columns of `_as_of`: what identifies the shard, and its image."""
    return read_image(*row[2:])


def _identity(columns: Any) -> dict[str, Restriction]:
    return {
        "namespace": equals(columns.namespace),
        "shard_ids": one_of(columns.shard_id),
        "search": contains_text(columns.shard_id),
    }


def _restrictions(columns: Any) -> dict[str, Restriction]:
    """Over the columns of the current table, or of one as of a revision."""
    return _identity(columns) | {
        "owner_node_ids": one_of(columns.owner_node_id),
        "leader_ids": one_of(columns.leader_id),
        "statuses": one_of(columns.status),
        "strategies": one_of(columns.strategy),
        "change_ticket": equals(columns.change_ticket),
    }


_NOW: Final = _restrictions(SHARDS.c)


@lru_cache(CACHED_STATEMENTS)
def _page(used: tuple[str, ...], shape: PageShape) -> AnySelect:
    restricted = conditions(_NOW, used)
    count = select(func.count()).select_from(SHARDS).where(*restricted)
    columns = (SHARDS.c.namespace, SHARDS.c.shard_id)
    return beside(HEAD, select(*SHARD).where(*restricted), count, columns, shape)


@lru_cache(CACHED_STATEMENTS)
def _page_as_of(used: tuple[str, ...], shape: PageShape) -> AnySelect:
    # Two subqueries: the page needs only the beginning of one, the count no images of the other.
    table, counted = _as_of(used), _as_of(used)
    columns = (table.c.namespace, table.c.shard_id)
    images = (table.c.image, table.c.revision, table.c.created_at, table.c.updated_at)
    restricted = select(*columns, *images).where(*conditions(_restrictions(table.c), used))
    count = select(func.count()).select_from(counted).where(*conditions(_restrictions(counted.c), used))
    return beside((*HEAD, mark_after(_AS_OF)), restricted, count, columns, shape)


def _as_of(used: tuple[str, ...]) -> Subquery:
    """The table as of the revision `as_of`.

    Every shard that ever existed is in the current table or among the tombstones, so one index probe into history for
    each finds its state, however long its history is. A filter of identities restricts what is probed.
    """
    identity = tuple(name for name in used if name in _identity(SHARDS.c))
    known = union(
        select(SHARDS.c.namespace, SHARDS.c.shard_id).where(*conditions(_identity(SHARDS.c), identity)),
        select(TOMBSTONES.c.namespace, TOMBSTONES.c.shard_id).where(*conditions(_identity(TOMBSTONES.c), identity)),
    ).subquery()
    newest = (
        select(HISTORY)
        .where(
            HISTORY.c.namespace == known.c.namespace,
            HISTORY.c.shard_id == known.c.shard_id,
            HISTORY.c.revision <= _AS_OF,
        )
        .order_by(HISTORY.c.revision.desc())
        .limit(1)
        .lateral()
    )
    image = newest.c.current
    member = image.op("->>", return_type=Text())
    return (
        select(
            known.c.namespace,
            known.c.shard_id,
            newest.c.owner_node_id,
            member("leaderId").label("leader_id"),
            member("status").label("status"),
            member("strategy").label("strategy"),
            member("changeTicket").label("change_ticket"),
            cast(image, Text).label("image"),
            newest.c.revision,
            newest.c.created_at,
            CHANGES.c.committed_at.label("updated_at"),
        )
        .select_from(known)
        .join(newest, true())
        .join(CHANGES, CHANGES.c.id == newest.c.change_id)
        .where(newest.c.kind != literal("DELETED"))
        .subquery()
    )
