"""The readers: each takes the tables once and answers from them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from operator import attrgetter
from typing import Final, TypeVar

from persistence.codec.images import net_diff
from persistence.codec.json_documents import configured_namespace
from persistence.model.paging import Page, PageRequest, page_of
from persistence.model.queries import (
    EVERY_SHARD,
    ChangeFilter,
    DiffDetail,
    HistoryOrder,
    ShardFilter,
    ShardHistoryFilter,
)
from persistence.model.records import (
    INVOLUNTARY,
    NO_CHANGE,
    AsOf,
    Change,
    ChangeMark,
    DiffKind,
    Namespace,
    Shard,
    ShardDiff,
    ShardKey,
    ShardStatus,
    StreamPosition,
)
from persistence.model.stream import ChangedShard, OmittedRange, StreamHead, StreamPage
from persistence.ports.readers import OWNER_SEARCHED, ShardAt, ShardCount, Stamped, capacity_units
from tests.reference.tables import Memory, Tables

SLICE: Final = 2
"""Shards of a slice of a scan: the tables of tests have a few."""


class MemoryShards:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def get(self, key: ShardKey, as_of: AsOf | None = None) -> Stamped[Shard | None]:
        table = self._table(as_of)
        return Stamped(next((shard for shard in table.value if shard.key == key), None), table.position)

    async def get_many(self, keys: Sequence[ShardKey], as_of: AsOf | None = None) -> Stamped[Sequence[Shard | None]]:
        table = self._table(as_of)
        shards = {shard.key: shard for shard in table.value}
        return Stamped([shards.get(key) for key in keys], table.position)

    async def page(
        self, where: ShardFilter, page: PageRequest[ShardKey], as_of: AsOf | None = None
    ) -> Stamped[Page[Shard]]:
        table = self._table(as_of)
        return Stamped(page_by(attrgetter("key"), filter(where.matches, table.value), page), table.position)

    def holder(self) -> Callable[[Shard], bool]:
        shards = self._memory.tables.shards
        return lambda shard: shards.get(shard.key) is shard

    async def scan(self) -> AsyncGenerator[Stamped[Sequence[Shard]], None]:
        found = await self.page(EVERY_SHARD, PageRequest(SLICE))
        while found.value.has_next:
            yield Stamped(found.value.items, found.position)
            found = await self.page(EVERY_SHARD, PageRequest(SLICE, after=found.value.items[-1].key))
        yield Stamped(found.value.items, found.position)

    def _table(self, as_of: AsOf | None) -> Stamped[Sequence[Shard]]:
        tables = self._memory.tables
        position = tables.position(as_of)
        shards = tables.shards if as_of is None else tables.shards_at(position.revision)
        return Stamped(list(shards.values()), position)


class MemoryTotals:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def counts(self, namespace: str | None = None) -> Stamped[Sequence[ShardCount]]:
        counts: dict[tuple[str, str, ShardStatus], list[int]] = {}
        tables = self._memory.tables
        for shard in tables.shards.values():
            if namespace in {None, shard.namespace}:
                own = counts.setdefault((shard.namespace, shard.owner_node_id, shard.status), [0, 0])
                own[0] += 1
                own[1] += capacity_units(shard.capacity_hint)
        return Stamped([ShardCount(*key, *own) for key, own in counts.items()], tables.position(None))

    async def owners(self) -> Collection[str]:
        return {shard.owner_node_id for shard in self._memory.tables.shards.values()}


class MemoryNamespaces:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def get(self, name: str) -> Namespace | None:
        return self._memory.tables.namespaces.get(name)

    async def page(self, page: PageRequest[str]) -> Page[Namespace]:
        return page_by(attrgetter("name"), self._memory.tables.namespaces.values(), page)

    async def page_as_of(self, page: PageRequest[str], as_of: AsOf) -> Page[Namespace]:
        created = self._memory.tables.namespaces
        newest = {
            name: change.configuration.current
            for change in self._memory.tables.changes_at(as_of)
            if change.configuration is not None and (name := change.configuration.namespace) is not None
        }
        found = [configured_namespace(name, created[name].created_at, current) for name, current in newest.items()]
        return page_by(attrgetter("name"), found, page)

    async def exists(self, name: str) -> bool:
        return name in self._memory.tables.namespaces

    async def around(self, name: str, limit: int) -> Sequence[str]:
        names = sorted(self._memory.tables.namespaces)
        return [*names[: bisect_left(names, name)][-limit:], *names[bisect_right(names, name) :][:limit]]


class MemoryHistory:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def page(
        self,
        where: ShardHistoryFilter,
        order: HistoryOrder,
        page: PageRequest[int],
        shown: DiffDetail | None = None,  # noqa: ARG002 - records have it all
    ) -> Page[ShardDiff]:
        rows = [row for row in self._memory.tables.history if _in_history(where, row)]
        return page_by(attrgetter("revision"), rows, page, descending=order is HistoryOrder.REVISION_DESC)

    def holds(self, diff: object) -> bool:
        return diff in self._memory.tables.history

    async def difference(
        self, namespace: str | None, start: int, end: int, page: PageRequest[ShardKey]
    ) -> Stamped[Page[ShardDiff]]:
        tables = self._memory.tables
        found = page_by(attrgetter("key"), _difference(tables, namespace, start, end), page)
        return Stamped(found, tables.position(AsOf(revision=end)))

    async def owner_changes(self, shards: Collection[ShardAt]) -> Mapping[ShardAt, Change]:
        found: dict[ShardAt, Change] = {}
        for shard in shards:
            rows = [
                row
                for row in self._memory.tables.history
                if row.key == (shard.namespace, shard.shard_id) and row.revision <= shard.revision
            ]
            moved = [row for row in rows[-OWNER_SEARCHED:] if row.moves or row.kind is DiffKind.CREATED]
            if moved:
                found[shard] = moved[-1].change
        return found

    async def window_use(
        self, namespace: str, seconds: int, most: int, *, involuntary: bool
    ) -> tuple[int, datetime | None]:
        begins = self._memory.clock() - timedelta(seconds=seconds)
        moves = [
            row.change.committed_at
            for row in self._memory.tables.history
            if row.namespace == namespace
            and row.moves
            and row.change.committed_at > begins
            and (involuntary or row.move_reason not in INVOLUNTARY)
        ][-most:]
        return len(moves), moves[0] if moves else None

    async def revision_at(self, time: datetime) -> int:
        return self._memory.tables.revision_at(time)


class MemoryChanges:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def page(
        self,
        where: ChangeFilter,
        page: PageRequest[int],
        *,
        newest_first: bool,
        shown: bool = False,  # noqa: ARG002 - records have all that is shown
    ) -> Page[Change]:
        changes = list(filter(where.matches, self._memory.tables.changes))
        return page_by(attrgetter("id"), changes, page, descending=newest_first)

    def holds(self, change: object) -> bool:  # noqa: ARG002 - none
        return False

    async def of_revisions(self, revisions: Collection[int]) -> Mapping[int, Change]:
        rows = {row.revision: row.change for row in self._memory.tables.history}
        return {revision: rows[revision] for revision in revisions if revision in rows}

    async def counted_before(self, times: Sequence[datetime]) -> Sequence[tuple[int, int]]:
        changes = self._memory.tables.changes
        earlier = [[change for change in changes if change.committed_at < time] for time in times]
        return [(len(each), max((change.last_revision or 0 for change in each), default=0)) for each in earlier]

    async def of_nodes(self, versions: Mapping[str, int]) -> Mapping[str, Change]:
        found: dict[str, Change] = {}
        for change in self._memory.tables.changes:
            changed = change.configuration
            if changed is not None and changed.current["version"] == versions.get(changed.node_id or ""):
                found[changed.node_id or ""] = change
        return found

    async def content_digests(self, after: int, limit: int) -> Sequence[bytes]:
        return self._memory.tables.digests[after : after + limit]


class MemoryStream:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def head(self) -> StreamHead:
        return self._memory.tables.head

    async def oldest_at(self) -> datetime | None:
        tables = self._memory.tables
        at_floor = tables.between(tables.floor - 1, tables.floor)
        changes = [row.change for row in at_floor] or tables.changes
        return changes[0].committed_at if changes else None

    async def renew(self, epoch: str) -> None:
        self._memory.renew(epoch)

    async def position_at(self, revision: int) -> StreamPosition:
        return self._memory.tables.position_at(revision)

    async def after(
        self, revision: int, limit: int, namespace: str | None = None, *, mark: ChangeMark = NO_CHANGE
    ) -> StreamPage:
        tables = self._memory.tables
        rows = (
            row for row in tables.between(revision, tables.revision) if namespace is None or row.namespace == namespace
        )
        return StreamPage(tables.head, tuple(islice(rows, limit)), tables.knows(mark))

    async def rest_of_change(self, omitted: OmittedRange, revision: int, limit: int) -> Sequence[ChangedShard]:
        tables = self._memory.tables
        rows = (row for row in tables.between(revision, omitted.last) if row.change.mark == omitted.mark)
        return [ChangedShard(row.revision, *row.key, row.current) for row in islice(rows, limit)]


def _difference(tables: Tables, namespace: str | None, start: int, end: int) -> Sequence[ShardDiff]:
    before = tables.shards_at(tables.served(start))
    after = tables.shards_at(tables.served(end))
    between = tables.between(min(start, end), max(start, end))
    newest = {row.key: row for row in between if namespace is None or row.namespace == namespace}
    return [
        net_diff(row.revision, before.get(key), after.get(key), row.change, row.move_reason)
        for key, row in newest.items()
        if key in before or key in after
    ]


def _in_history(where: ShardHistoryFilter, row: ShardDiff) -> bool:
    owners = {side.owner_node_id for side in (row.previous, row.current) if side is not None}
    return (
        (where.namespace is None or row.namespace == where.namespace)
        and (where.shard_id is None or row.shard_id == where.shard_id)
        and (where.owner_node_id is None or where.owner_node_id in owners)
        and (where.kinds is None or row.kind in where.kinds)
        and (where.actor is None or row.change.actor == where.actor)
        and (where.change_ticket is None or row.change.change_ticket == where.change_ticket)
        and (where.change_id is None or row.change.id == where.change_id)
        and (where.move_reasons is None or row.move_reason in where.move_reasons)
        and (where.owner_changed is None or row.moves is where.owner_changed)
        and (where.since is None or row.change.committed_at >= where.since)
        and (where.until is None or row.change.committed_at < where.until)
    )


K = TypeVar("K", ShardKey, str, int)

T = TypeVar("T")


def page_by(key: Callable[[T], K], rows: Iterable[T], request: PageRequest[K], *, descending: bool = False) -> Page[T]:
    """The rows between the cursors, in the order of `key`, cut to the page that was requested."""
    rows = list(rows)
    lower, upper = (request.before, request.after) if descending else (request.after, request.before)
    inside = [row for row in rows if (lower is None or lower < key(row)) and (upper is None or key(row) < upper)]
    inside.sort(key=key, reverse=descending != request.backward)
    return page_of(inside[: request.limit + 1], request, total=len(rows) if request.counted else None)
