"""Reading nodes."""

from __future__ import annotations

from dataclasses import replace
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
from persistence.postgres.restrictions import conditions, filter_values, one_of, used_fields
from persistence.postgres.rows import NODE, NODE_UNCOUNTED, node_of
from persistence.postgres.session_errors import translated
from persistence.postgres.tables.current import NODES
from persistence.queries import NodeFilter
from persistence.records import Node, NodeStatus

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
