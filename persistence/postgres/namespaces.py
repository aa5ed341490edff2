"""Reading namespaces."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from sqlalchemy import bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.paging import Page, PageRequest
from persistence.postgres.keyset import (
    STATEMENTS_KEPT,
    AnySelect,
    PageShape,
    counted_keyset,
    page_from,
    page_shape,
    page_values,
)
from persistence.postgres.models import NAMESPACE_HEADS, NAMESPACES
from persistence.postgres.rows import NAMESPACE, namespace_of
from persistence.postgres.session_errors import translated
from persistence.records import Namespace

SELECT_NAMESPACE: Final = select(*NAMESPACE).join(NAMESPACE_HEADS, NAMESPACE_HEADS.c.name == NAMESPACES.c.name)
"""Columns in the order of NAMESPACE."""

ONE_NAMESPACE: Final = SELECT_NAMESPACE.where(NAMESPACES.c.name == bindparam("name"))
_COUNT: Final = select(func.count()).select_from(NAMESPACES)


class PostgresNamespaces:
    """NamespaceReader."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read

    async def get(self, name: str) -> Namespace | None:
        with translated():
            async with self._read() as session:
                row = (await session.execute(ONE_NAMESPACE, {"name": name})).one_or_none()
        return None if row is None else namespace_of(row)

    async def page(self, page: PageRequest[str]) -> Page[Namespace]:
        with translated():
            async with self._read() as session:
                rows = (await session.execute(_page(page_shape(page)), page_values(page))).all()
        return page_from(rows, page, lambda found: [namespace_of(row) for row in found])


@lru_cache(STATEMENTS_KEPT)
def _page(shape: PageShape) -> AnySelect:
    return counted_keyset(SELECT_NAMESPACE, _COUNT, (NAMESPACES.c.name,), shape)
