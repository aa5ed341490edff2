"""Reading the shard table, as it is and as it stood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Text, cast, func, literal, select, true, union
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.errors import SchemaOutOfDate
from persistence.images import read_image
from persistence.paging import Page, PageRequest, page_of
from persistence.ports import Stamped
from persistence.postgres.driver_errors import translated
from persistence.postgres.keyset import AnySelect, keyset
from persistence.postgres.models import CHANGES, HISTORY, SHARDS, STREAM_HEAD, TOMBSTONES
from persistence.postgres.moments import revision_of
from persistence.postgres.rows import SHARD, shard_of
from persistence.queries import ShardFilter
from persistence.records import AsOf, Shard, ShardKey, StreamPosition

_HEAD: Final = (STREAM_HEAD.c.epoch, STREAM_HEAD.c.revision)


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
        with translated():
            async with self._read() as session:
                if as_of is None:
                    rows = await _now(session, where, page)
                    shards = [shard_of(row[2:]) for row in rows if row[2] is not None]
                    revision = rows[0][1]
                else:
                    revision = await revision_of(session, as_of)
                    rows = await _then(session, where, page, revision)
                    shards = [read_image(*row[2:6]) for row in rows if row[2] is not None]
        return Stamped(page_of(shards, page), StreamPosition(rows[0][0], revision))

    async def count(self, where: ShardFilter, as_of: AsOf | None = None) -> int:
        with translated():
            async with self._read() as session:
                if as_of is None:
                    statement = select(func.count()).select_from(SHARDS).where(*_conditions(where, SHARDS.c))
                else:
                    table = _as_of(where, await revision_of(session, as_of)).subquery()
                    statement = select(func.count()).select_from(table).where(*_conditions(where, table.c))
                return (await session.execute(statement)).scalar_one()


async def _now(session: AsyncSession, where: ShardFilter, page: PageRequest[ShardKey]) -> Sequence[Any]:
    order = (SHARDS.c.namespace, SHARDS.c.shard_id)
    statement = keyset(select(*SHARD).where(*_conditions(where, SHARDS.c)), order, page, as_key=tuple)
    return await _with_head(session, statement, page)


async def _then(session: AsyncSession, where: ShardFilter, page: PageRequest[ShardKey], revision: int) -> Sequence[Any]:
    table = _as_of(where, revision).subquery()
    columns = (table.c.image, table.c.revision, table.c.created_at, table.c.updated_at)
    order = (table.c.namespace, table.c.shard_id)
    statement = keyset(select(*columns).where(*_conditions(where, table.c)), order, page, as_key=tuple)
    return await _with_head(session, statement.add_columns(*order), page)


async def _with_head(session: AsyncSession, statement: AnySelect, page: PageRequest[ShardKey]) -> Sequence[Any]:
    """Rows of (epoch, revision, *columns); one row with nulls where the page is empty."""
    table = statement.subquery()
    ordered = (table.c.namespace, table.c.shard_id)
    turned = select(*_HEAD, table).select_from(STREAM_HEAD).outerjoin(table, true())
    turned = turned.order_by(*(column.desc() if page.backward else column for column in ordered))
    rows = (await session.execute(turned)).all()
    if not rows:
        raise SchemaOutOfDate("the stream head is missing; run 'omnirelay db upgrade'")
    return rows


def _as_of(where: ShardFilter, revision: int) -> AnySelect:
    """The table as it stood at `revision`.

    Every shard there ever was is in the current table or among the tombstones, so one index probe into history for each
    of those finds its state, however long its history is.
    """
    known = union(select(SHARDS.c.namespace, SHARDS.c.shard_id), select(TOMBSTONES.c.namespace, TOMBSTONES.c.shard_id))
    keys = known.subquery()
    newest = (
        select(HISTORY)
        .where(
            HISTORY.c.namespace == keys.c.namespace,
            HISTORY.c.shard_id == keys.c.shard_id,
            HISTORY.c.revision <= revision,
        )
        .order_by(HISTORY.c.revision.desc())
        .limit(1)
        .lateral()
    )
    image = newest.c.current
    statement = (
        select(
            keys.c.namespace,
            keys.c.shard_id,
            newest.c.owner_node_id,
            image.op("->>")("leaderId").label("leader_id"),
            image.op("->>")("status").label("status"),
            image.op("->>")("strategy").label("strategy"),
            image.op("->>")("changeTicket").label("change_ticket"),
            cast(image, Text).label("image"),
            newest.c.revision,
            newest.c.created_at,
            CHANGES.c.committed_at.label("updated_at"),
        )
        .select_from(keys)
        .join(newest, true())
        .join(CHANGES, CHANGES.c.id == newest.c.change_id)
        .where(newest.c.kind != literal("DELETED"))
    )
    if where.namespace is not None:
        statement = statement.where(keys.c.namespace == where.namespace)
    if where.shard_ids is not None:
        statement = statement.where(keys.c.shard_id.in_(where.shard_ids))
    return statement


def _conditions(where: ShardFilter, table: Any) -> list[ColumnElement[bool]]:
    """The filter over the columns of the current table or of one as it stood."""
    conditions: list[ColumnElement[bool]] = []
    for column, value in ((table.namespace, where.namespace), (table.change_ticket, where.change_ticket)):
        if value is not None:
            conditions.append(column == value)
    for column, values in (
        (table.shard_id, where.shard_ids),
        (table.owner_node_id, where.owner_node_ids),
        (table.leader_id, where.leader_ids),
        (table.status, where.statuses),
        (table.strategy, where.strategies),
    ):
        if values is not None:
            conditions.append(column.in_([str(value) for value in values]))
    if where.search is not None:
        conditions.append(func.strpos(table.shard_id, where.search) > 0)
    return conditions
