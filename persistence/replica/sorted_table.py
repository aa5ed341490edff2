"""The table of the replica: a shard table whose keys are in order, for pages of lists."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from persistence.model.paging import Page, PageRequest, page_of
from persistence.model.queries import EVERY_SHARD, ShardFilter
from persistence.model.records import Shard, ShardKey
from persistence.shard_table import ShardTable

EXAMINED_AT_MOST: Final = 2_000
"""Shards that one page may look at: a millisecond or two. A filter that few shards match is the database's work."""

COMPARED_AT_MOST: Final = 20
"""Values of one list of a filter, for each shard is compared to all of them."""


class SortedTable(ShardTable):
    """Not for use from several threads."""

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []
        self._ids: dict[str, list[str]] = {}

    def page(self, where: ShardFilter, request: PageRequest[ShardKey]) -> Page[Shard] | None:
        """Ordered by (namespace, shard id); null where too many shards would have to be looked at."""
        if any(len(values) > COMPARED_AT_MOST for values in _lists(where)):
            return None
        total = self._count_of(where) if request.counted else None
        if request.counted and total is None:
            return None
        found: list[Shard] = []
        for examined, shard in enumerate(self._walk(where.namespace, request)):
            if examined == EXAMINED_AT_MOST:
                return None
            if where.matches(shard):
                found.append(shard)
                if len(found) > request.limit:
                    break
        return page_of(found, request, total)

    def _count_of(self, where: ShardFilter) -> int | None:
        """Null for what would have to be counted one by one."""
        if replace(where, namespace=None) != EVERY_SHARD:
            return None
        return len(self) if where.namespace is None else len(self.shards(where.namespace))

    def _walk(self, namespace: str | None, request: PageRequest[ShardKey]) -> Iterator[Shard]:
        """The shards strictly between the cursors, from the end that the request asks for."""
        lower, upper, step = request.after, request.before, -1 if request.backward else 1
        first = 0 if lower is None else bisect_left(self._names, lower.namespace)
        last = len(self._names) if upper is None else bisect_right(self._names, upper.namespace)
        for name in self._names[first:last][::step]:
            if namespace is not None and name != namespace:
                continue
            ids, shards = self._ids[name], self._namespaces[name]
            begin = bisect_right(ids, lower.shard_id) if lower is not None and lower.namespace == name else 0
            end = bisect_left(ids, upper.shard_id) if upper is not None and upper.namespace == name else len(ids)
            positions = range(begin, end)[::step]
            yield from (shards[ids[position]] for position in positions)

    def _added(self, namespace: str, shard_id: str) -> None:
        ids = self._ids.get(namespace)
        if ids is None:
            ids = self._ids[namespace] = []
            insort(self._names, namespace)
        if not ids or ids[-1] < shard_id:
            ids.append(shard_id)  # they are loaded in order
        else:
            insort(ids, shard_id)

    def _removed(self, namespace: str, shard_id: str) -> None:
        ids = self._ids[namespace]
        del ids[bisect_left(ids, shard_id)]


def _lists(where: ShardFilter) -> Iterator[Sequence[str]]:
    for values in (where.shard_ids, where.owner_node_ids, where.leader_ids, where.statuses, where.strategies):
        if values is not None:
            yield values
