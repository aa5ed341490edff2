"""The table of the replica: a shard table whose keys are in order, for pages of lists."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from persistence.model.paging import Page, PageRequest, page_of
from persistence.model.queries import ShardFilter
from persistence.model.records import Shard, ShardDiff, ShardKey, ShardStatus
from persistence.model.stream import ChangedShard
from persistence.ports.readers import ShardCount, capacity_units
from persistence.shard_table import ShardTable

BYTES_A_SHARD: Final = 1_000
"""Measured: 540 once loaded, 630 once each shard has been changed since. Names may be longer than those measured."""

EXAMINED_AT_MOST: Final = 2_000
"""Shards that one page may look at: a millisecond or two. A filter that few shards match is the database's work."""

COMPARED_AT_MOST: Final = 20
"""Values of one list of a filter, for each shard is compared to all of them."""

_PREPARED_IN_A_STEP: Final = 1_000
"""Diffs."""


Ownership: TypeAlias = tuple[str, ShardStatus]
"""The node that owns a shard, and the shard's status."""

_Owned: TypeAlias = tuple[str, ShardStatus, float]
"""An ownership, and the capacity of the shard."""


class SortedTable(ShardTable):
    """Not for use from several threads."""

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []
        self._ids: dict[str, list[str]] = {}
        self._writes: dict[str, int] = {}
        self._all_writes = 0
        self._owned: dict[str, dict[Ownership, tuple[int, int]]] = {}

    @property
    def owned(self) -> Mapping[Ownership, int]:
        """How many shards each node owns in each status, where that is any."""
        counts: Counter[Ownership] = Counter()
        for of_namespace in self._owned.values():
            for ownership, (shards, _) in of_namespace.items():
                counts[ownership] += shards
        return counts

    def counts(self, namespace: str | None) -> list[ShardCount]:
        """As `ShardReader.counts`."""
        names = self._owned if namespace is None else [namespace]
        return [
            ShardCount(name, node_id, status, shards, capacity)
            for name in names
            for (node_id, status), (shards, capacity) in self._owned.get(name, {}).items()
        ]

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
        """Up to `limit` + 1 shards strictly between the cursors, from the end that the request names."""
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

    def merge(self, prepared: _Prepared) -> Iterator[None]:
        """Find out its ids, in steps of a millisecond or two."""
        ids, merged, begin = self._ids.get(prepared.namespace, []), list[str](), 0
        changes = sorted([(each, True) for each in prepared.added] + [(each, False) for each in prepared.removed])
        for number, (shard_id, added) in enumerate(changes, 1):
            end = bisect_left(ids, shard_id, begin)
            merged += ids[begin:end]
            if added:
                merged.append(shard_id)
            begin = end if added else end + 1
            if not number % _PREPARED_IN_A_STEP:
                yield
        merged += ids[begin:]
        prepared.ids = merged
        yield

    def take(self, prepared: _Prepared) -> None:
        """What was prepared, and merged where shards are added or removed, since when the namespace is the same."""
        name = prepared.namespace
        shards = self._namespaces.setdefault(name, {})
        shards.update(prepared.put)
        for shard_id in prepared.removed:
            del shards[shard_id]
        self._count += len(prepared.added) - len(prepared.removed)
        if prepared.ids is not None:
            if name not in self._ids:
                insort(self._names, name)
            self._ids[name] = prepared.ids
        for owned, change in prepared.owned.items():
            self._own(name, owned, change)
        self._count_write(name)

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
        self._count_write(namespace)
        lost, gained = _owned(before), _owned(after)
        if lost == gained:
            return
        if gained is not None:
            self._own(namespace, gained, 1)
        if lost is not None:
            self._own(namespace, lost, -1)

    def _count_write(self, namespace: str) -> None:
        self._all_writes += 1
        self._writes[namespace] = self._writes.get(namespace, 0) + 1

    def _own(self, namespace: str, owned: _Owned, change: int) -> None:
        """So many more shards of this kind, or fewer."""
        node_id, status, capacity = owned
        of_namespace = self._owned.setdefault(namespace, {})
        shards, units = of_namespace.get((node_id, status), (0, 0))
        if shards + change:
            of_namespace[node_id, status] = shards + change, units + change * capacity_units(capacity)
        else:
            of_namespace.pop((node_id, status), None)


class StagedDiffs:
    """Diffs that a table takes all at once, however many: what takes long is done beside it.

    Until `commit` nothing else may be put into the namespaces that they are of.
    """

    def __init__(self, table: SortedTable) -> None:
        self._table = table
        self._newest: dict[str, dict[str, Shard | int]] = {}  # of one that was deleted, the revision
        self._prepared: list[_Prepared] = []

    def add(self, diffs: Iterable[ShardDiff | ChangedShard]) -> None:
        """The next ones of the stream."""
        for diff in diffs:
            of_namespace = self._newest.setdefault(diff.namespace, {})
            of_namespace[diff.shard_id] = diff.revision if diff.current is None else diff.current

    def prepare(self) -> Iterator[None]:
        """To be exhausted before `commit`. A step takes a millisecond or two, and other tasks may run after it."""
        steps = 0
        for namespace, newest in self._newest.items():
            held = self._table.shards(namespace)
            prepared = _Prepared(namespace)
            for shard_id, found in newest.items():
                steps += 1
                if not steps % _PREPARED_IN_A_STEP:
                    yield
                before = held.get(shard_id)
                if isinstance(found, int):
                    if before is not None and before.revision < found:
                        prepared.removed.append(shard_id)
                        prepared.note(before, None)
                elif before is None:
                    prepared.put[shard_id] = found
                    prepared.added.append(shard_id)
                    prepared.note(None, found)
                elif before.revision < found.revision:
                    prepared.put[shard_id] = found
                    prepared.note(before, found)
            if prepared.added or prepared.removed:
                yield from self._table.merge(prepared)
            if prepared.put or prepared.removed:
                self._prepared.append(prepared)

    def commit(self) -> None:
        for prepared in self._prepared:
            self._table.take(prepared)


@dataclass(slots=True)
class _Prepared:
    """Of one namespace. `ids`: its ids afterwards, where that are others than before. `owned`: how many more shards
    each node owns then, or fewer."""

    namespace: str
    put: dict[str, Shard] = field(default_factory=dict)
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    ids: list[str] | None = None
    owned: Counter[_Owned] = field(default_factory=Counter)

    def note(self, before: Shard | None, after: Shard | None) -> None:
        """A shard is to be another one than before; null for none."""
        lost, gained = _owned(before), _owned(after)
        if lost == gained:
            return
        if gained is not None:
            self.owned[gained] += 1
        if lost is not None:
            self.owned[lost] -= 1


def _owned(shard: Shard | None) -> _Owned | None:
    return None if shard is None else (shard.owner_node_id, shard.status, shard.capacity_hint)


def _may_hold(namespace: str, request: PageRequest[ShardKey]) -> bool:
    """Whether shards of a namespace may be between the cursors."""
    lower, upper = request.after, request.before
    return (lower is None or lower.namespace <= namespace) and (upper is None or namespace <= upper.namespace)


def _lists(where: ShardFilter) -> Iterator[Sequence[str]]:
    for values in (where.shard_ids, where.owner_node_ids, where.leader_ids, where.statuses, where.strategies):
        if values is not None:
            yield values
