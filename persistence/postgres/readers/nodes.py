"""Reading nodes and namespaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import BigInteger, bindparam, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.model.paging import Page, PageRequest
from persistence.model.queries import NodeFilter
from persistence.model.records import Namespace, Node, NodeStatus
from persistence.postgres.readers.keyset import each, fetch, one_of
from persistence.postgres.readers.paged_list import PagedList
from persistence.postgres.reads import Read
from persistence.postgres.rows import NAMESPACE, NODE, NODE_UNCOUNTED, namespace_of, node_of
from persistence.postgres.tables.current import NAMESPACE_HEADS, NAMESPACES, NODES

SELECT_NODE: Final = select(*NODE)
"""Columns in the order of NODE."""

SELECT_UNCOUNTED: Final = select(*NODE_UNCOUNTED)
"""The same, without the shards each owns."""

ONE_NODE: Final = SELECT_NODE.where(NODES.c.node_id == bindparam("node_id"))

_ONE_NODE: Final = Read(ONE_NODE)

_ONE_UNCOUNTED: Final = Read(SELECT_UNCOUNTED.where(NODES.c.node_id == bindparam("node_id")))

_RESTRICTIONS: Final = {
    "statuses": one_of(NODES.c.status),
    "regions": one_of(NODES.c.region),
    "zones": one_of(NODES.c.zone),
}

_NODES: Final = PagedList(SELECT_NODE, NODES, NODES.c.node_id, each(node_of), _RESTRICTIONS)

_UNCOUNTED: Final = PagedList(SELECT_UNCOUNTED, NODES, NODES.c.node_id, each(node_of), _RESTRICTIONS)

_NOT_REMOVED: Final = tuple(status for status in NodeStatus if status is not NodeStatus.REMOVED)


class PostgresNodes:
    """NodeReader."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read

    async def get(self, node_id: str, *, shards_counted: bool = True) -> Node | None:
        rows = await fetch(self._read, _ONE_NODE if shards_counted else _ONE_UNCOUNTED, {"node_id": node_id})
        return node_of(rows[0]) if rows else None

    async def page(self, where: NodeFilter, page: PageRequest[str], *, shards_counted: bool = True) -> Page[Node]:
        where = where if where.statuses is not None else replace(where, statuses=_NOT_REMOVED)
        return await (_NODES if shards_counted else _UNCOUNTED).page(self._read, where, page)


SELECT_NAMESPACE: Final = select(*NAMESPACE).join(NAMESPACE_HEADS, NAMESPACE_HEADS.c.name == NAMESPACES.c.name)
"""Columns in the order of NAMESPACE."""

ONE_NAMESPACE: Final = SELECT_NAMESPACE.where(NAMESPACES.c.name == bindparam("name"))

_ONE_NAMESPACE: Final = Read(ONE_NAMESPACE)

_NAMESPACES: Final = PagedList(SELECT_NAMESPACE, NAMESPACES, NAMESPACES.c.name, each(namespace_of))

_NAME: Final = bindparam("name", type_=NAMESPACES.c.name.type)

_SIDE: Final = bindparam("side", type_=BigInteger)

_BEFORE: Final = select(NAMESPACES.c.name).where(NAMESPACES.c.name < _NAME).order_by(NAMESPACES.c.name.desc())

_BEHIND: Final = select(NAMESPACES.c.name).where(NAMESPACES.c.name > _NAME).order_by(NAMESPACES.c.name)

_AROUND: Final = Read(union_all(*(side.limit(_SIDE).subquery().select() for side in (_BEFORE, _BEHIND))))


class PostgresNamespaces:
    """NamespaceReader. `exists` remembers those it has found: no namespace is ever deleted."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read
        self._found: set[str] = set()

    async def get(self, name: str) -> Namespace | None:
        rows = await fetch(self._read, _ONE_NAMESPACE, {"name": name})
        return namespace_of(rows[0]) if rows else None

    async def page(self, page: PageRequest[str]) -> Page[Namespace]:
        return await _NAMESPACES.page(self._read, None, page)

    async def exists(self, name: str) -> bool:
        if name not in self._found and await self.get(name) is not None:
            self._found.add(name)
        return name in self._found

    async def around(self, name: str, limit: int) -> Sequence[str]:
        return sorted(found for (found,) in await fetch(self._read, _AROUND, {"name": name, "side": limit}))
