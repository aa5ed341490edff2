"""Reading changes: who did what, why, under which ticket."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.paging import Page, PageRequest, page_of
from persistence.postgres.driver_errors import translated
from persistence.postgres.keyset import keyset
from persistence.postgres.models import CHANGES
from persistence.postgres.rows import CHANGE, change_of
from persistence.queries import ChangeFilter
from persistence.records import Change


class PostgresChanges:
    """ChangeReader."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read

    async def page(self, where: ChangeFilter, page: PageRequest[int], *, newest_first: bool) -> Page[Change]:
        statement = keyset(
            select(*CHANGE).where(*_conditions(where)),
            (CHANGES.c.id,),
            page,
            as_key=lambda change_id: (change_id,),
            descending=newest_first,
        )
        with translated():
            async with self._read() as session:
                rows = (await session.execute(statement)).all()
        return page_of([change_of(row) for row in rows], page)

    async def count(self, where: ChangeFilter) -> int:
        statement = select(func.count()).select_from(CHANGES).where(*_conditions(where))
        with translated():
            async with self._read() as session:
                return (await session.execute(statement)).scalar_one()


def _conditions(where: ChangeFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if where.namespace is not None:
        conditions.append(CHANGES.c.namespaces.contains([where.namespace]))
    if where.actor is not None:
        conditions.append(CHANGES.c.actor == where.actor)
    if where.change_ticket is not None:
        conditions.append(CHANGES.c.change_ticket == where.change_ticket)
    if where.kinds is not None:
        conditions.append(CHANGES.c.kind.in_([str(kind) for kind in where.kinds]))
    if where.since is not None:
        conditions.append(CHANGES.c.committed_at >= where.since)
    if where.until is not None:
        conditions.append(CHANGES.c.committed_at < where.until)
    return conditions
