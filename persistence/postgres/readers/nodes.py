"""Reading namespaces."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from sqlalchemy import BigInteger, bindparam, func, select, union_all
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
from persistence.postgres.rows import NAMESPACE, namespace_of
from persistence.postgres.session_errors import translated
from persistence.postgres.tables.current import NAMESPACE_HEADS, NAMESPACES
from persistence.records import Namespace

SELECT_NAMESPACE: Final = select(*NAMESPACE).join(NAMESPACE_HEADS, NAMESPACE_HEADS.c.name == NAMESPACES.c.name)
"""Columns in the order of NAMESPACE."""

ONE_NAMESPACE: Final = SELECT_NAMESPACE.where(NAMESPACES.c.name == bindparam("name"))
_COUNT: Final = select(func.count()).select_from(NAMESPACES)


class PostgresNamespaces:
    """NamespaceReader. `exists` remembers those it has found: no namespace is ever deleted."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read
        self._found: set[str] = set()

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

    async def exists(self, name: str) -> bool:
        if name not in self._found and await self.get(name) is not None:
            self._found.add(name)
        return name in self._found

    async def around(self, name: str, limit: int) -> Sequence[str]:
        with translated():
            async with self._read() as session:
                found = await session.execute(_AROUND, {"name": name, "side": limit})
        return sorted(found.scalars())


_NAME: Final = bindparam("name", type_=NAMESPACES.c.name.type)
_SIDE: Final = bindparam("side", type_=BigInteger)
_BEFORE: Final = select(NAMESPACES.c.name).where(NAMESPACES.c.name < _NAME).order_by(NAMESPACES.c.name.desc())
_BEHIND: Final = select(NAMESPACES.c.name).where(NAMESPACES.c.name > _NAME).order_by(NAMESPACES.c.name)
_AROUND: Final = union_all(*(side.limit(_SIDE).subquery().select() for side in (_BEFORE, _BEHIND)))


@lru_cache(STATEMENTS_KEPT)
def _page(shape: PageShape) -> AnySelect:
    return counted_keyset(SELECT_NAMESPACE, _COUNT, (NAMESPACES.c.name,), shape)
