"""Reading the shard table, as it is and as it stood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
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

from persistence.images import read_image
from persistence.paging import Page, PageRequest, page_of
from persistence.ports import Stamped
from persistence.postgres.keyset import STATEMENTS_KEPT, AnySelect, PageShape, keyset, page_shape, page_values
from persistence.postgres.models import CHANGES, HISTORY, SHARDS, TOMBSTONES
from persistence.postgres.moments import require_servable, revision_of
from persistence.postgres.restrictions import (
    Restriction,
    conditions,
    contains_text,
    equals,
    filter_values,
    one_of,
    used_fields,
)
from persistence.postgres.rows import SHARD, shard_of
from persistence.postgres.session_errors import translated
from persistence.postgres.stream import CURRENT, HEAD, head_missing, head_of, mark_after, read_mark
from persistence.queries import ShardFilter
from persistence.records import AsOf, Shard, ShardKey, StreamPosition


class PostgresShards:
    """ShardReader. A page and the position it is exact at come from one statement, so from one snapshot."""

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
                    shards = [shard_of(row[_HEAD:]) for row in rows if row[_HEAD] is not None]
                    return Stamped(page_of(shards, page), head_of(rows[0][:_HEAD]).position)
                revision = await revision_of(session, as_of)
                rows = await _rows(session, _page_as_of(used, shape), values | {"as_of": revision})
        *columns, mark = rows[0][: _HEAD + 1]
        head = head_of(columns)
        require_servable(revision, head)
        shards = [read_image(*row[_HEAD + 3 :]) for row in rows if row[_HEAD + 1] is not None]
        return Stamped(page_of(shards, page), StreamPosition(head.epoch, revision, read_mark(mark, revision)))

    async def count(self, where: ShardFilter, as_of: AsOf | None = None) -> int:
        used, values = used_fields(where), filter_values(where)
        with translated():
            async with self._read() as session:
                if as_of is None:
                    return (await session.execute(_count(used), values)).scalar_one()
                revision = await revision_of(session, as_of)
                rows = await _rows(session, _count_as_of(used), values | {"as_of": revision})
        *head, count = rows[0]
        require_servable(revision, head_of(head))
        return int(count)


_HEAD: Final = len(HEAD)
_AS_OF: Final = bindparam("as_of", type_=BigInteger)


async def _rows(session: AsyncSession, statement: AnySelect, values: Mapping[str, Any]) -> Sequence[Any]:
    """Rows that begin with the head; one, with nulls in the place of a shard, where a page is empty."""
    rows = (await session.execute(statement, values)).all()
    if not rows:
        raise head_missing()
    return rows


def _identity(columns: Any) -> dict[str, Restriction]:
    return {
        "namespace": equals(columns.namespace),
        "shard_ids": one_of(columns.shard_id),
        "search": contains_text(columns.shard_id),
    }


def _restrictions(columns: Any) -> dict[str, Restriction]:
    """Over the columns of the current table, or of one as it stood."""
    return _identity(columns) | {
        "owner_node_ids": one_of(columns.owner_node_id),
        "leader_ids": one_of(columns.leader_id),
        "statuses": one_of(columns.status),
        "strategies": one_of(columns.strategy),
        "change_ticket": equals(columns.change_ticket),
    }


_NOW: Final = _restrictions(SHARDS.c)


@lru_cache(STATEMENTS_KEPT)
def _page(used: tuple[str, ...], shape: PageShape) -> AnySelect:
    restricted = select(*SHARD).where(*conditions(_NOW, used))
    return _with_head(keyset(restricted, (SHARDS.c.namespace, SHARDS.c.shard_id), shape), shape)


@lru_cache(STATEMENTS_KEPT)
def _page_as_of(used: tuple[str, ...], shape: PageShape) -> AnySelect:
    table = _as_of(used)
    columns = (table.c.namespace, table.c.shard_id)
    images = (table.c.image, table.c.revision, table.c.created_at, table.c.updated_at)
    restricted = select(*columns, *images).where(*conditions(_restrictions(table.c), used))
    return _with_head(keyset(restricted, columns, shape), shape, mark_after(_AS_OF))


@lru_cache(STATEMENTS_KEPT)
def _count(used: tuple[str, ...]) -> Select[int]:
    return select(func.count()).select_from(SHARDS).where(*conditions(_NOW, used))


@lru_cache(STATEMENTS_KEPT)
def _count_as_of(used: tuple[str, ...]) -> AnySelect:
    table = _as_of(used)
    counted = select(func.count()).select_from(table).where(*conditions(_restrictions(table.c), used))
    return select(*HEAD, counted.scalar_subquery())


def _with_head(page: AnySelect, shape: PageShape, *beside: ColumnElement[Any]) -> AnySelect:
    table = page.subquery()
    columns = (table.c.namespace, table.c.shard_id)
    return (
        select(*HEAD, *beside, table)
        .select_from(CURRENT)
        .outerjoin(table, true())
        .order_by(*(column.desc() if shape.backward else column for column in columns))
    )


def _as_of(used: tuple[str, ...]) -> Subquery:
    """The table as it stood at the revision `as_of`.

    Every shard there ever was is in the current table or among the tombstones, so one index probe into history for each
    of those finds its state, however long its history is. What the filter says of identity is asked before probing.
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
