"""Reading nodes and namespaces."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import ARRAY, BigInteger, Column, ColumnElement, String, bindparam, func, not_, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.model.paging import Page, PageRequest
from persistence.model.queries import NodeFilter
from persistence.model.records import AsOf, Namespace, Node, NodeStatus
from persistence.postgres.readers.keyset import each, fetch, one_of
from persistence.postgres.readers.paged_list import PagedList
from persistence.postgres.readers.past_configurations import namespaces_as_of, nodes_as_of
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


_STATUSES: Final = Read(
    select(NODES.c.node_id, NODES.c.status).where(
        NODES.c.node_id == func.any(bindparam("node_ids", type_=ARRAY(NODES.c.node_id.type)))
    )
)


def _around(name: Column[str], *conditions: ColumnElement[bool]) -> Read:
    """Names on either side of one that is given, so many on each."""
    given, side = bindparam("name", type_=name.type), bindparam("side", type_=BigInteger)
    before = select(name).where(name < given, *conditions).order_by(name.desc())
    behind = select(name).where(name > given, *conditions).order_by(name)
    return Read(union_all(*(each_side.limit(side).subquery().select() for each_side in (before, behind))))


_NODES_AROUND: Final = _around(NODES.c.node_id, NODES.c.status != str(NodeStatus.REMOVED))


_NAMED: Final = (
    func.unnest(bindparam("node_ids", type_=ARRAY(String))).table_valued("node_id", name="named").render_derived()
)

_ABSENT: Final = Read(
    select(_NAMED.c.node_id).where(
        not_(
            select(NODES.c.node_id)
            .where(NODES.c.node_id == _NAMED.c.node_id, NODES.c.status != NodeStatus.REMOVED)
            .exists()
        )
    )
)


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

    async def page_as_of(self, where: NodeFilter, page: PageRequest[str], as_of: AsOf) -> Page[Node]:
        return await nodes_as_of(self._read, where, page, as_of)

    async def statuses(self, node_ids: Sequence[str]) -> Mapping[str, NodeStatus]:
        rows = await fetch(self._read, _STATUSES, {"node_ids": list(node_ids)})
        return {node_id: NodeStatus(status) for node_id, status in rows}

    async def around(self, node_id: str, limit: int) -> Sequence[str]:
        return sorted(found for (found,) in await fetch(self._read, _NODES_AROUND, {"name": node_id, "side": limit}))

    async def absent(self, node_ids: Collection[str]) -> Collection[str]:
        return {node_id for (node_id,) in await fetch(self._read, _ABSENT, {"node_ids": list(node_ids)})}


SELECT_NAMESPACE: Final = select(*NAMESPACE).join(NAMESPACE_HEADS, NAMESPACE_HEADS.c.name == NAMESPACES.c.name)
"""Columns in the order of NAMESPACE."""

ONE_NAMESPACE: Final = SELECT_NAMESPACE.where(NAMESPACES.c.name == bindparam("name"))

_ONE_NAMESPACE: Final = Read(ONE_NAMESPACE)

_NAMESPACES: Final = PagedList(SELECT_NAMESPACE, NAMESPACES, NAMESPACES.c.name, each(namespace_of))

_NAMESPACES_AROUND: Final = _around(NAMESPACES.c.name)


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

    async def page_as_of(self, page: PageRequest[str], as_of: AsOf) -> Page[Namespace]:
        return await namespaces_as_of(self._read, page, as_of)

    async def exists(self, name: str) -> bool:
        if name not in self._found and await self.get(name) is not None:
            self._found.add(name)
        return name in self._found

    async def around(self, name: str, limit: int) -> Sequence[str]:
        return sorted(found for (found,) in await fetch(self._read, _NAMESPACES_AROUND, {"name": name, "side": limit}))
