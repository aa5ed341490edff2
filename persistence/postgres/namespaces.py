"""Reading namespaces."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.paging import Page, PageRequest, page_of
from persistence.postgres.driver_errors import translated
from persistence.postgres.keyset import AnySelect, keyset
from persistence.postgres.models import NAMESPACE_HEADS, NAMESPACES
from persistence.postgres.rows import NAMESPACE, namespace_of
from persistence.records import Namespace


def select_namespace() -> AnySelect:
    """Columns in the order of NAMESPACE."""
    return select(*NAMESPACE).join(NAMESPACE_HEADS, NAMESPACE_HEADS.c.name == NAMESPACES.c.name)


class PostgresNamespaces:
    """NamespaceReader."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read

    async def get(self, name: str) -> Namespace | None:
        with translated():
            async with self._read() as session:
                row = (await session.execute(select_namespace().where(NAMESPACES.c.name == name))).one_or_none()
        return None if row is None else namespace_of(row)

    async def page(self, page: PageRequest[str]) -> Page[Namespace]:
        statement = keyset(select_namespace(), (NAMESPACES.c.name,), page, as_key=lambda name: (name,))
        with translated():
            async with self._read() as session:
                rows = (await session.execute(statement)).all()
        return page_of([namespace_of(row) for row in rows], page)

    async def count(self) -> int:
        with translated():
            async with self._read() as session:
                return (await session.execute(select(func.count()).select_from(NAMESPACES))).scalar_one()
