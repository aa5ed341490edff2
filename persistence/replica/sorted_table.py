"""The table of the replica: a shard table whose keys are in order, for pages of lists."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from persistence.model.paging import Page, PageRequest, page_of
from persistence.model.queries import ShardFilter
from persistence.model.records import Shard, ShardKey, ShardStatus
from persistence.shard_table import ShardTable

BYTES_A_SHARD: Final = 1_000
"""Measured: 540 once loaded, 630 once each shard has been changed since. Names may be longer than those measured."""

EXAMINED_AT_MOST: Final = 2_000
"""Shards that one page may look at: a millisecond or two. A filter that few shards match is the database's work."""

COMPARED_AT_MOST: Final = 20
"""Values of one list of a filter, for each shard is compared to all of them."""


Ownership: TypeAlias = tuple[str, ShardStatus]
"""The node that owns a shard, and the shard's status."""


class SortedTable(ShardTable):
    """Not for use from several threads."""

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []
        self._ids: dict[str, list[str]] = {}
        self._writes: dict[str, int] = {}
        self._all_writes = 0
        self._owned: dict[Ownership, int] = {}

    @property
    def owned(self) -> Mapping[Ownership, int]:
        """How many shards each node owns in each status, where that is any: a live view."""
        return self._owned

    def writes(self, namespace: str | None) -> int:
        """How often shards of a namespace, or of any, were put, replaced or removed."""
        return self._all_writes if namespace is None else self._writes.get(namespace, 0)

    def page(self, where: ShardFilter, request: PageRequest[ShardKey]) -> Page[Shard] | None:
        """Ordered by (namespace, shard id); null where too many shards would have to be looked at."""
        if where.is_of_namespace_only:
            return page_of(self._first(where.namespace, request), request, self._total(where.namespace, request))
        if request.counted or any(len(values) > COMPARED_AT_MOST for values in _lists(where)):
            return None
        found: list[Shard] = []
        for examined, shard in enumerate(self._walk(where.namespace, request)):
            if examined == EXAMINED_AT_MOST:
                return None
            if where.matches(shard):
                found.append(shard)
                if len(found) > request.limit:
                    break
        return page_of(found, request)

    def _total(self, namespace: str | None, request: PageRequest[ShardKey]) -> int | None:
        """Null for one that is not to be counted."""
        if not request.counted:
            return None
        return len(self) if namespace is None else len(self.shards(namespace))

    def _first(self, namespace: str | None, request: PageRequest[ShardKey]) -> list[Shard]:
        """Up to `limit` + 1 shards strictly between the cursors, from the end that the request asks for."""
        found: list[Shard] = []
        for name, begin, end in self._stretches(namespace, request):
            ids, missing = self._ids[name], request.limit + 1 - len(found)
            if request.backward:
                held = ids[max(begin, end - missing) : end][::-1]
            else:
                held = ids[begin : min(end, begin + missing)]
            found += map(self._namespaces[name].__getitem__, held)
            if len(found) > request.limit:
                break
        return found

    def _walk(self, namespace: str | None, request: PageRequest[ShardKey]) -> Iterator[Shard]:
        """As `_first`, without an end."""
        for name, begin, end in self._stretches(namespace, request):
            ids, shards = self._ids[name], self._namespaces[name]
            positions = range(end - 1, begin - 1, -1) if request.backward else range(begin, end)
            yield from (shards[ids[position]] for position in positions)

    def _stretches(self, namespace: str | None, request: PageRequest[ShardKey]) -> Iterator[tuple[str, int, int]]:
        """Namespaces in the order of the request, with the range of positions that is strictly between the cursors."""
        lower, upper = request.after, request.before
        if namespace is None:
            first = 0 if lower is None else bisect_left(self._names, lower.namespace)
            last = len(self._names) if upper is None else bisect_right(self._names, upper.namespace)
            names = self._names[first:last][:: -1 if request.backward else 1]
        else:
            names = [namespace] if namespace in self._ids and _may_hold(namespace, request) else []
        for name in names:
            ids = self._ids[name]
            begin = bisect_right(ids, lower.shard_id) if lower is not None and lower.namespace == name else 0
            end = bisect_left(ids, upper.shard_id) if upper is not None and upper.namespace == name else len(ids)
            if begin < end:
                yield name, begin, end

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

    def _written(self, namespace: str, before: Shard | None, after: Shard | None) -> None:
        self._all_writes += 1
        self._writes[namespace] = self._writes.get(namespace, 0) + 1
        lost = None if before is None else (before.owner_node_id, before.status)
        gained = None if after is None else (after.owner_node_id, after.status)
        if lost == gained:
            return
        owned = self._owned
        if gained is not None:
            owned[gained] = owned.get(gained, 0) + 1
        if lost is not None:
            owned[lost] -= 1
            if not owned[lost]:
                del owned[lost]


def _may_hold(namespace: str, request: PageRequest[ShardKey]) -> bool:
    """Whether shards of a namespace may be between the cursors."""
    lower, upper = request.after, request.before
    return (lower is None or lower.namespace <= namespace) and (upper is None or namespace <= upper.namespace)


def _lists(where: ShardFilter) -> Iterator[Sequence[str]]:
    for values in (where.shard_ids, where.owner_node_ids, where.leader_ids, where.statuses, where.strategies):
        if values is not None:
            yield values
