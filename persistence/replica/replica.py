"""The replica of one process: loaded from the database slice by slice, kept up to date by the feed, and read from.

Until it is loaded, and again after the stream was replaced, it serves nothing and the database serves everything.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

from persistence.errors import EpochMismatch, StoreError
from persistence.model.outcomes import Outcome, PlanApplied, ShardsChanged
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import DiffFilter, ShardFilter
from persistence.model.records import UNMARKED, AsOf, ChangeMark, Shard, ShardDiff, ShardKey, StreamPosition
from persistence.model.stream import DiffBatch, OmittedRange
from persistence.ports import ShardReader, Stamped, Watcher, holds_none
from persistence.replica.observed_reads import ObservedReads
from persistence.replica.pending import Backlog, Expectations
from persistence.replica.sorted_table import SortedTable

_WATCHED: Final = 10_000
"""Records that the garbage collector may have to look at while they are loaded: two milliseconds."""

_NOWHERE: Final = StreamPosition("", 0, UNMARKED)
"""Of no stream."""

_WORTH_A_LINE_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


class WatchedFeed(Protocol):
    @property
    def fresh(self) -> bool: ...

    def watched_by(self, watcher: Watcher) -> AbstractContextManager[StreamPosition]: ...

    def follow(self, begin: StreamPosition, where: DiffFilter) -> AsyncGenerator[DiffBatch, None]: ...


@dataclass(frozen=True, slots=True)
class ReplicaLimits:
    """`shards` is how many it holds at most, 0 for no replica; `origin` is what that follows from, in a few words."""

    shards: int = 250_000
    origin: str = "replica_shards"
    retry_seconds: float = 1.0


DEFAULT_LIMITS = ReplicaLimits()


class Replica:
    """`run` must be running; `following` sees to it. A Watcher of the feed."""

    def __init__(self, stored: ShardReader, feed: WatchedFeed, limits: ReplicaLimits) -> None:
        self._stored = stored
        self._feed = feed
        self._limits = limits
        self._table: SortedTable | None = None
        self._complete_from = 0
        self._position = _NOWHERE
        self._expected = Expectations()
        self._backlog = Backlog()
        self._history: _SameHistory | None = None
        self._ready = asyncio.Event()
        self._work = asyncio.Event()
        self._invalid = False

    @property
    def position(self) -> StreamPosition:
        """Where the table that is served is in the stream: where the feed is."""
        return self._position

    @property
    def table(self) -> SortedTable | None:
        """The table as of `position`; null while it is not whole."""
        return self._table if self._position.revision >= self._complete_from else None

    def settled(self) -> StreamPosition | None:
        """Where every shard and every list is answered from; null while some are read from the database."""
        table = None if self._expects or self._backlog.items else self._fresh()
        return None if table is None else table.position

    def table_with(self, key: ShardKey) -> Stamped[SortedTable] | None:
        """The table as of where the feed is, unless that is not fresh, the shard's namespace is behind, or this process
        has changed that shard since."""
        if self._is_behind(key.namespace) or (self._expects and self._expected.of_shard(key)):
            return None
        return self._fresh()

    def table_with_all(self, keys: Collection[ShardKey]) -> Stamped[SortedTable] | None:
        """As `table_with`, for several shards."""
        if self._backlog.items and any(map(self._backlog.is_behind, {key.namespace for key in keys})):
            return None
        if self._expects and any(map(self._expected.of_shard, keys)):
            return None
        return self._fresh()

    def table_of(self, namespace: str | None) -> Stamped[SortedTable] | None:
        """The table as of where the feed is, unless that is not fresh, or that namespace, or any, is behind or was
        changed by this process since."""
        if self._is_behind(namespace) or (self._expects and self._expected.of_namespace(namespace)):
            return None
        return self._fresh()

    def _fresh(self) -> Stamped[SortedTable] | None:
        table = self.table
        return Stamped(table, self._position) if table is not None and self._feed.fresh else None

    def _is_behind(self, namespace: str | None) -> bool:
        return bool(self._backlog.items) and self._backlog.is_behind(namespace)

    @property
    def _expects(self) -> bool:
        """Whether anything is expected at all: mostly nothing is."""
        return self._expected.newest > self._position.revision

    def note(self, outcome: Outcome) -> None:
        """What was just committed through this process must not be missing from what it reads."""
        if not isinstance(outcome, ShardsChanged | PlanApplied):
            return
        position = outcome.position
        if position.epoch != self._position.epoch:
            # The stream was replaced and the feed has not noticed yet, or nothing is followed just now. Either way
            # there is no revision to wait for: what is loaded from now on has it.
            self._invalidate()
        elif isinstance(outcome, ShardsChanged):
            self._expected.expect_shards(position.revision, outcome.shards)
        else:
            self._expected.expect_namespaces(position.revision, outcome.change.namespaces)
        self._expected.seen(self._position.revision)

    def expect_shards(self, position: StreamPosition, keys: Iterable[ShardKey]) -> None:
        """Shards were read from the database as of `position`. What is read next must not be older."""
        if self._continues(position):
            self._expected.expect_shards(position.revision, keys)

    def expect_list(self, position: StreamPosition, namespace: str | None) -> None:
        """A list of shards of a namespace, or of any, was read from the database: it shows what is absent, too."""
        if not self._continues(position):
            return
        if namespace is None:
            self._expected.expect_all(position.revision)
        else:
            self._expected.expect_namespaces(position.revision, [namespace])

    def _continues(self, position: StreamPosition) -> bool:
        """Whether it is ahead of the replica. What is loaded after the stream was replaced is no older anyway."""
        if position.epoch != self._position.epoch:
            self._invalidate()
            return False
        return position.revision > self._position.revision

    async def ready(self) -> None:
        """Until it serves, and no namespace is behind."""
        await self._ready.wait()

    def advanced(self, position: StreamPosition, diffs: Sequence[ShardDiff], omitted: OmittedRange | None) -> None:
        self._position = position
        self._expected.seen(position.revision)
        if self._history is not None:
            self._history.passed(diffs, omitted)
            if not self._history.is_one:
                _log.warning("the replica was read across a failover that lost changes; loading it anew")
                self._invalidate()
            self._settle()
        if self._table is None:
            self._backlog.add(diffs)
        else:
            try:
                for diff in self._backlog.hold_back(diffs):
                    self._table.apply(diff)
            except Exception:
                self._invalidate()  # a table that has taken half of them is of no revision
                raise
            if len(self._table) > self._limits.shards:
                self._invalidate()
            if not self._ready.is_set():
                self._set_ready()
        if omitted is not None:
            self._backlog.add([omitted])
            self._ready.clear()
            self._work.set()

    def replaced(self, position: StreamPosition) -> None:
        self._position = position
        self._invalidate()

    async def run(self) -> None:
        """Load and follow until cancelled, or until there are more shards than it may hold."""
        while True:
            try:
                await self._serve()
            except _Full:
                _log.warning(
                    "more than %d shards (%s): the replica is given up, and reads go to the database",
                    self._limits.shards,
                    self._limits.origin,
                )
                return
            except (StoreError, TimeoutError) as error:
                _log.warning("the replica cannot be loaded: %s", str(error) or "no answer in time")
                await asyncio.sleep(self._limits.retry_seconds)
            except Exception:  # noqa: BLE001 - a replica that died would be silent; it is logged with its traceback
                _log.exception("the replica met something it should not have; loading it anew")
                await asyncio.sleep(self._limits.retry_seconds)

    async def _serve(self) -> None:
        """Returns when what it serves does not hold any more."""
        self._backlog, self._work, self._expected = Backlog(), asyncio.Event(), Expectations()
        self._invalid = False
        with self._feed.watched_by(self) as begin:
            self._position = begin
            self._history = _SameHistory(begin)
            try:
                begun = monotonic()
                table, self._complete_from = await self._load()
                _log.log(
                    # What a start prints is not interrupted by what took no time.
                    logging.INFO if monotonic() - begun > _WORTH_A_LINE_SECONDS else logging.DEBUG,
                    "the replica is loaded: %d shards, of at most %d (%s)",
                    len(table),
                    self._limits.shards,
                    self._limits.origin,
                )
                while not self._invalid:
                    self._work.clear()
                    await self._apply_backlog(table)
                    if not self._invalid:
                        self._table = table
                        self._settle()
                        self._set_ready()
                        await self._work.wait()
                if len(table) > self._limits.shards:
                    raise _Full
            finally:
                self._invalidate()
                self._position = _NOWHERE

    async def _apply_backlog(self, table: SortedTable) -> None:
        while self._backlog.items and not self._invalid:
            item = self._backlog.items[0]
            if isinstance(item, OmittedRange):
                async for diff in self._read(item):
                    table.apply(diff)
            else:
                table.apply(item)
            self._backlog.done()
        if len(table) > self._limits.shards:
            self._invalidate()

    async def _read(self, omitted: OmittedRange) -> AsyncGenerator[ShardDiff, None]:
        begin = StreamPosition(self._position.epoch, omitted.first - 1, omitted.mark)
        async with aclosing(self._feed.follow(begin, DiffFilter())) as batches:
            async for batch in batches:
                for diff in batch.diffs:
                    if diff.revision <= omitted.last:
                        yield diff
                if batch.position.revision >= omitted.last:
                    return

    def _settle(self) -> None:
        """Once the feed has come by every page there is nothing to compare any more."""
        if self.table is not None:
            self._history = None

    def _set_ready(self) -> None:
        if self.table is not None and not self._backlog.items:
            self._ready.set()

    def _invalidate(self) -> None:
        self._table = None
        self._ready.clear()
        self._invalid = True
        self._work.set()

    async def _load(self) -> tuple[SortedTable, int]:
        """Every shard, and the newest revision that any slice was read at: from there on, with every diff applied that
        came meanwhile, it is the table as of one revision. The diffs must wait for it: one that deletes a shard would
        miss it, if the slice that still has it came later."""
        table, newest, watched = SortedTable(), _NOWHERE, 0
        async with aclosing(self._stored.scan()) as slices:
            async for found in slices:
                newest = found.position
                if self._history is None or not self._history.read(newest):
                    raise EpochMismatch(self._position.epoch, newest.epoch)
                table.put(found.value)
                if len(table) - watched >= _WATCHED:
                    watched = len(table)
                    _exempt()
                if len(table) > self._limits.shards:
                    raise _Full
        return table, newest.revision


class ReplicaShards:
    """ShardReader. Every answer is the table at one revision, which it is stamped with, and holds what this process
    has committed. What other processes commit arrives with the feed, milliseconds later; a request that needs it sooner
    waits for its revision. No shard is shown as it was before what an earlier answer showed, whether that came from the
    replica or from the database.
    """

    def __init__(self, replica: Replica, stored: ShardReader) -> None:
        self._replica = replica
        self._stored = stored
        self._observed: ObservedReads | None = None

    def observe(self) -> ObservedReads:
        """What is read from now on, by anything, until it is `observed`, or others begin to observe."""
        self._observed = ObservedReads(self._replica)
        return self._observed

    def observed(self, reads: ObservedReads) -> bool:
        """The end of it. False if others have begun to observe meanwhile: then reads may be missing."""
        whole, self._observed = self._observed is reads, None
        return whole

    async def get(self, key: ShardKey, as_of: AsOf | None = None) -> Stamped[Shard | None]:
        table = self._replica.table_with(key) if as_of is None else None
        if table is not None:
            shard = table.value.get(*key)
            if self._observed is not None:
                self._observed.add_shard(key, shard)
                self._observed.add_read_at(table.position)
            return Stamped(shard, table.position)
        self._read_elsewhere()
        stored = await self._stored.get(key, as_of)
        if as_of is None:
            self._replica.expect_shards(stored.position, [key])
        return stored

    async def get_many(self, keys: Sequence[ShardKey], as_of: AsOf | None = None) -> Stamped[Sequence[Shard | None]]:
        table = self._replica.table_with_all(keys) if as_of is None else None
        if table is not None:
            shards = [table.value.get(*key) for key in keys]
            if self._observed is not None:
                for key, shard in zip(keys, shards, strict=True):
                    self._observed.add_shard(key, shard)
                self._observed.add_read_at(table.position)
            return Stamped(shards, table.position)
        self._read_elsewhere()
        stored = await self._stored.get_many(keys, as_of)
        if as_of is None:
            self._replica.expect_shards(stored.position, keys)
        return stored

    async def page(
        self, where: ShardFilter, page: PageRequest[ShardKey], as_of: AsOf | None = None
    ) -> Stamped[Page[Shard]]:
        table = self._replica.table_of(where.namespace) if as_of is None else None
        if table is not None:
            # Nothing is awaited between position, page and count: the table is the same for all three.
            found = table.value.page(where, page)
            if found is not None:
                if self._observed is not None:
                    self._observed.add_page(where.namespace, table.value)
                    self._observed.add_read_at(table.position)
                return Stamped(found, table.position)
        self._read_elsewhere()
        stored = await self._stored.page(where, page, as_of)
        if as_of is None:
            self._replica.expect_list(stored.position, where.namespace)
        return stored

    def _read_elsewhere(self) -> None:
        if self._observed is not None:
            self._observed.add_elsewhere()

    def holder(self) -> Callable[[Shard], bool]:
        table = self._replica.table
        return holds_none if table is None else table.holds

    def scan(self) -> AsyncGenerator[Stamped[Sequence[Shard]], None]:
        return self._stored.scan()


class _SameHistory:
    """Whether the pages of a table and the feed that brings them up to date are of one history: the database may have
    lost its end between two of them, with neither having seen it. Then they differ in the change of some revision."""

    def __init__(self, begin: StreamPosition) -> None:
        self._begin = begin
        self._passed = {begin.revision: begin.mark}
        self._omitted: list[OmittedRange] = []
        self._read: dict[int, ChangeMark] = {}

    def read(self, position: StreamPosition) -> bool:
        """A page was read there. False if that is not where the feed is, or will come to."""
        if position.epoch != self._begin.epoch or position.revision < self._begin.revision:
            return False
        self._read[position.revision] = position.mark
        return self.is_one

    def passed(self, diffs: Sequence[ShardDiff], omitted: OmittedRange | None) -> None:
        """The feed has come by these."""
        self._passed |= {diff.revision: diff.change.mark for diff in diffs}
        if omitted is not None:
            self._omitted.append(omitted)

    @property
    def is_one(self) -> bool:
        """False once they are known to differ."""
        return all(self._of_feed(revision) in {None, mark} for revision, mark in self._read.items())

    def _of_feed(self, revision: int) -> ChangeMark | None:
        """Null while the feed has not come by."""
        known = self._passed.get(revision)
        return known or next((each.mark for each in self._omitted if each.first <= revision <= each.last), None)


def _exempt() -> None:
    """Exempt what has been loaded from garbage collection: records are part of no cycle, and a walk through a million
    stops every request for half a second. The collector is off while a server imports its other half; then that does
    it."""
    if gc.isenabled():
        gc.collect(1)
        gc.freeze()


class _Full(Exception):
    """There are more shards than the replica may hold."""


@asynccontextmanager
async def following(
    stored: ShardReader, feed: WatchedFeed, limits: ReplicaLimits = DEFAULT_LIMITS
) -> AsyncIterator[Replica]:
    """A replica with a task of its own, which ends with the context."""
    replica = Replica(stored, feed, limits)
    if not limits.shards:
        yield replica
        return
    task = asyncio.create_task(replica.run(), name="omnirelay-replica")
    try:
        yield replica
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
