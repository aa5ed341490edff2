"""Reading nodes.

Reading namespaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from sqlalchemy import BigInteger, bindparam, func, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.model.paging import Page, PageRequest
from persistence.model.queries import NodeFilter
from persistence.model.records import Namespace, Node, NodeStatus
from persistence.postgres.engine import translated
from persistence.postgres.readers.keyset import (
    STATEMENTS_KEPT,
    AnySelect,
    PageShape,
    conditions,
    counted_keyset,
    filter_values,
    one_of,
    page_from,
    page_shape,
    page_values,
    used_fields,
)
from persistence.postgres.rows import NAMESPACE, NODE, NODE_UNCOUNTED, namespace_of, node_of
from persistence.postgres.tables.current import NAMESPACE_HEADS, NAMESPACES, NODES

SELECT_NODE: Final = select(*NODE)
"""Columns in the order of NODE."""

SELECT_UNCOUNTED: Final = select(*NODE_UNCOUNTED)
"""The same, without the shards each owns."""

ONE_NODE: Final = SELECT_NODE.where(NODES.c.node_id == bindparam("node_id"))

_PRESENT: Final = tuple(status for status in NodeStatus if status is not NodeStatus.REMOVED)


class PostgresNodes:
    """NodeReader."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read

    async def get(self, node_id: str) -> Node | None:
        with translated():
            async with self._read() as session:
                row = (await session.execute(ONE_NODE, {"node_id": node_id})).one_or_none()
        return None if row is None else node_of(row)

    async def page(self, where: NodeFilter, page: PageRequest[str]) -> Page[Node]:
        where = _explicit(where)
        statement = _page(used_fields(where), page_shape(page))
        with translated():
            async with self._read() as session:
                rows = (await session.execute(statement, filter_values(where) | page_values(page))).all()
        return page_from(rows, page, lambda found: [node_of(row) for row in found])


def _explicit(where: NodeFilter) -> NodeFilter:
    return where if where.statuses is not None else replace(where, statuses=_PRESENT)


_RESTRICTIONS: Final = {
    "statuses": one_of(NODES.c.status),
    "regions": one_of(NODES.c.region),
    "zones": one_of(NODES.c.zone),
}


@lru_cache(STATEMENTS_KEPT)
def _page(used: tuple[str, ...], shape: PageShape) -> AnySelect:
    restricted = conditions(_RESTRICTIONS, used)
    count = select(func.count()).select_from(NODES).where(*restricted)
    return counted_keyset(SELECT_NODE.where(*restricted), count, (NODES.c.node_id,), shape)


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
                rows = (await session.execute(_namespace_page(page_shape(page)), page_values(page))).all()
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
def _namespace_page(shape: PageShape) -> AnySelect:
    return counted_keyset(SELECT_NAMESPACE, _COUNT, (NAMESPACES.c.name,), shape)
