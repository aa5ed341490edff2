"""Reading history: row by row, and as the net difference between two revisions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Text, and_, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.differences import net_diff
from persistence.errors import SchemaOutOfDate
from persistence.images import read_image
from persistence.paging import Page, PageRequest, page_of
from persistence.ports import StreamHead
from persistence.postgres.driver_errors import translated
from persistence.postgres.keyset import AnySelect, keyset
from persistence.postgres.models import CHANGES, HISTORY
from persistence.postgres.moments import require_servable
from persistence.postgres.rows import CHANGE, DIFF, change_of, diffs_of
from persistence.postgres.stream import HEAD
from persistence.queries import HistoryOrder, ShardHistoryFilter
from persistence.records import DiffKind, ShardDiff, ShardKey


class PostgresHistory:
    """HistoryReader."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read

    async def page(self, where: ShardHistoryFilter, order: HistoryOrder, page: PageRequest[int]) -> Page[ShardDiff]:
        statement = keyset(
            _joined(select(*DIFF, *CHANGE)).where(*_conditions(where)),
            (HISTORY.c.revision,),
            page,
            as_key=lambda revision: (revision,),
            descending=order is HistoryOrder.REVISION_DESC,
        )
        with translated():
            async with self._read() as session:
                rows = (await session.execute(statement)).all()
        return page_of(diffs_of(rows), page)

    async def count(self, where: ShardHistoryFilter) -> int:
        statement = _joined(select(func.count())).where(*_conditions(where))
        with translated():
            async with self._read() as session:
                return int((await session.execute(statement)).scalar_one())

    async def difference(
        self, namespace: str | None, start: int, end: int, page: PageRequest[ShardKey]
    ) -> Page[ShardDiff]:
        touched = _touched(namespace, start, end).subquery()
        first, last = HISTORY.alias(), HISTORY.alias()
        statement = (
            select(
                cast(first.c.previous, Text),
                first.c.previous_revision,
                first.c.created_at,
                first.c.previous_updated_at,
                cast(last.c.current, Text),
                last.c.revision,
                last.c.created_at,
                *CHANGE,
            )
            .select_from(touched)
            .join(first, first.c.revision == touched.c.first)
            .join(last, last.c.revision == touched.c.last)
            .join(CHANGES, CHANGES.c.id == last.c.change_id)
            .where(or_(first.c.kind != DiffKind.CREATED, last.c.kind != DiffKind.DELETED))
        )
        statement = keyset(statement, (touched.c.namespace, touched.c.shard_id), page, as_key=tuple)
        with translated():
            async with self._read() as session:
                await _require_servable(session, start, end)
                rows = (await session.execute(statement)).all()
        return page_of([_net(tuple(row), backwards=start > end) for row in rows], page)

    async def count_difference(self, namespace: str | None, start: int, end: int) -> int:
        touched = _touched(namespace, start, end).subquery()
        first, last = HISTORY.alias(), HISTORY.alias()
        statement = (
            select(func.count())
            .select_from(touched)
            .join(first, first.c.revision == touched.c.first)
            .join(last, last.c.revision == touched.c.last)
            .where(or_(first.c.kind != DiffKind.CREATED, last.c.kind != DiffKind.DELETED))
        )
        with translated():
            async with self._read() as session:
                await _require_servable(session, start, end)
                return (await session.execute(statement)).scalar_one()


def _joined(statement: AnySelect) -> AnySelect:
    return statement.select_from(HISTORY).join(CHANGES, CHANGES.c.id == HISTORY.c.change_id)


def _conditions(where: ShardHistoryFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [
        column == value
        for column, value in (
            (HISTORY.c.namespace, where.namespace),
            (HISTORY.c.shard_id, where.shard_id),
            (HISTORY.c.change_id, where.change_id),
            (CHANGES.c.actor, where.actor),
            (CHANGES.c.change_ticket, where.change_ticket),
        )
        if value is not None
    ]
    if where.owner_node_id is not None:
        owners = (HISTORY.c.owner_node_id, HISTORY.c.previous_owner_node_id)
        conditions.append(or_(*(owner == where.owner_node_id for owner in owners)))
    if where.kinds is not None:
        conditions.append(HISTORY.c.kind.in_([str(kind) for kind in where.kinds]))
    if where.since is not None:
        conditions.append(CHANGES.c.committed_at >= where.since)
    if where.until is not None:
        conditions.append(CHANGES.c.committed_at < where.until)
    return conditions


def _touched(namespace: str | None, start: int, end: int) -> AnySelect:
    """Each shard touched between the revisions, with the first and the last row that did."""
    row = HISTORY.c
    statement = select(
        row.namespace, row.shard_id, func.min(row.revision).label("first"), func.max(row.revision).label("last")
    ).where(and_(row.revision > min(start, end), row.revision <= max(start, end)))
    if namespace is not None:
        statement = statement.where(row.namespace == namespace)
    return statement.group_by(row.namespace, row.shard_id)


def _net(row: tuple[Any, ...], *, backwards: bool) -> ShardDiff:
    before_image, before_revision, before_created, before_updated, after_image, revision, after_created, *rest = row
    change = change_of(rest)
    before = read_image(before_image, before_revision, before_created, before_updated) if before_image else None
    after = read_image(after_image, revision, after_created, change.committed_at) if after_image else None
    previous, current = (after, before) if backwards else (before, after)
    return net_diff(revision, previous, current, change)


async def _require_servable(session: AsyncSession, *revisions: int) -> None:
    row = (await session.execute(select(*HEAD))).one_or_none()
    if row is None:
        raise SchemaOutOfDate("the stream head is missing; run 'omnirelay db upgrade'")
    for revision in revisions:
        require_servable(revision, StreamHead(*row))
