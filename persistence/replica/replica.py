"""The replica of one process: loaded from the database slice by slice, kept up to date by the feed, and read from.

Until it is loaded, and again after the stream was replaced, it serves nothing and the database serves everything.

One class, longer than others: table, position, backlog and expectations change together between two awaits. How each of
them works is in `sorted_table`, `loading` and `pending`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

from persistence.errors import StoreError
from persistence.model.outcomes import Outcome, PlanApplied, ShardsChanged, StalePlan, StaleShard, VersionConflict
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import ShardFilter
from persistence.model.records import UNMARKED, Shard, ShardDiff, ShardKey, StreamPosition
from persistence.model.stream import ChangedShard, OmittedRange
from persistence.ports.feed import Watcher
from persistence.ports.readers import ShardCount, ShardReader, Stamped
from persistence.replica.loading import Full, SameHistory, load
from persistence.replica.pending import Backlog, Expectations, Lag, ShownPage
from persistence.replica.sorted_table import SortedTable, StagedDiffs
from persistence.tasks import end

_APPLIED_AT_ONCE: Final = 500
"""Diffs."""

_LONG: Final = 100
"""Shards. The feed may leave a change of more in history, to be read from there."""

_NOWHERE: Final = StreamPosition("", 0, UNMARKED)
"""Of no stream."""

_WORTH_A_LINE_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


class WatchedFeed(Protocol):
    @property
    def fresh(self) -> bool: ...

    def now(self) -> float: ...

    def is_fresh(self, received: float) -> bool: ...

    def watched_by(self, watcher: Watcher) -> AbstractContextManager[StreamPosition]: ...

    def read_omitted(self, omitted: OmittedRange) -> AsyncGenerator[Sequence[ChangedShard | ShardDiff], None]: ...


@dataclass(frozen=True, slots=True)
class ReplicaLimits:
    """`shards` is how many it holds at most, 0 for no replica; `origin` is what that follows from, in a few words.

    `catch_up_seconds` is how long reads and answers to writers wait for a long change that is being read;
    `soon_seconds`, how long a read waits for what was committed or shown a moment ago: the feed brings it within
    milliseconds. A page of 500 shards that is read from the database takes as many of the event loop, and any read
    there may have to wait for a connection.
    """

    shards: int = 250_000
    origin: str = "replica_shards"
    retry_seconds: float = 1.0
    catch_up_seconds: float = 2.0
    soon_seconds: float = 0.1


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
        self._history: SameHistory | None = None
        self._ready = asyncio.Event()
        self._progress = asyncio.Event()
        self._work = asyncio.Event()
        self._invalid = False

    @property
    def position(self) -> StreamPosition:
        """Where the feed is in the stream, and the table, but for namespaces that are behind."""
        return self._position

    @property
    def table(self) -> SortedTable | None:
        """The table as of `position`, but for namespaces that are behind; null while it is not whole."""
        return self._table if self._position.revision >= self._complete_from else None

    def settled(self) -> StreamPosition | None:
        """Where every shard and every list is answered from; null while some are read elsewhere in the stream."""
        table = None if self._expects or self._backlog.items else self._fresh()
        return None if table is None else table.position

    def table_with(self, key: ShardKey) -> Stamped[SortedTable] | None:
        """The table as of where the feed is, or as of before what the shard's namespace is behind by; null where that
        is not fresh, or is missing what this process has changed or shown of that shard."""
        lag = self._backlog.lags.get(key.namespace) if self._backlog.items else None
        if lag is not None:
            return None if self._expects_shard(key, lag.position.revision) else self._as_of(lag)
        if self._expects and self._expects_shard(key):
            return None
        return self._fresh()

    def shows(self, shard: Shard) -> bool:
        """Whether a lookup of this shard would be answered from memory, with this very object."""
        position, table = self._position, self._table
        if self._backlog.items or self._expected.newest > position.revision:
            found = self.table_with(shard.key)
            return found is not None and found.value.holds(shard)
        if table is None or position.revision < self._complete_from:
            return False
        return table.holds(shard) and self._feed.fresh

    def table_with_all(self, keys: Collection[ShardKey]) -> Stamped[SortedTable] | None:
        """As `table_with`, for several shards at one position."""
        if self._backlog.items:
            behind = self._backlog.lags
            lags = {name: behind[name] for name in {key.namespace for key in keys} if name in behind}
            if lags:
                return self._table_before(keys, lags)
        if self._expects and any(map(self._expects_shard, keys)):
            return None
        return self._fresh()

    def _table_before(self, keys: Collection[ShardKey], lags: Mapping[str, Lag]) -> Stamped[SortedTable] | None:
        """As of where the namespace is that is furthest behind. Shards of others are in the table as they are further
        on: they were the same there, if they have not changed since."""
        furthest = min(lags.values(), key=lambda lag: lag.position.revision)
        revision = furthest.position.revision
        found = self._as_of(furthest)
        if found is None or any(self._expects_shard(key, revision) for key in keys):
            return None
        for key in keys:
            lag = lags.get(key.namespace)
            if lag is None or lag.position.revision != revision:
                shard = found.value.get(*key)
                if shard is None or shard.revision > revision:
                    return None
        return found

    def table_of(self, namespace: str | None) -> Stamped[SortedTable] | None:
        """As `table_with`, for all shards of a namespace; null for those of any while one is behind."""
        if self._backlog.items:
            if namespace is None:
                return None
            lag = self._backlog.lags.get(namespace)
            if lag is not None:
                return None if self._expected.of_namespace(namespace, lag.position.revision) else self._as_of(lag)
        if self._expects and self._expected.of_namespace(namespace):
            return None
        return self._fresh()

    def _fresh(self) -> Stamped[SortedTable] | None:
        table = self.table
        return Stamped(table, self._position) if table is not None and self._feed.fresh else None

    def _as_of(self, lag: Lag) -> Stamped[SortedTable] | None:
        """The table of a namespace that is behind. What it does not show yet was received a moment ago."""
        table = self._table
        if table is None or lag.position.revision < self._complete_from or not self._feed.is_fresh(lag.received):
            return None
        return Stamped(table, lag.position) if self._feed.fresh else None

    @property
    def _expects(self) -> bool:
        """Whether anything is expected at all: mostly nothing is."""
        return self._expected.newest > self._position.revision

    def _expects_shard(self, key: ShardKey, seen: int | None = None) -> bool:
        """As `Expectations.of_shard`, as the table has it."""
        held = None if self._table is None else self._table.get(*key)
        return self._expected.of_shard(key, held, seen)

    @property
    def _is_given_up(self) -> bool:
        """Or not begun: nothing is followed. What was expected then would be remembered for ever."""
        return self._position is _NOWHERE

    def _revision_of(self, namespace: str | None) -> int:
        """Up to where it is shown; the least of all, without a name."""
        lag = self._backlog.of(namespace) if self._backlog.items else None
        return (self._position if lag is None else lag.position).revision

    def note(self, outcome: Outcome) -> None:
        """What was just committed through this process, or what it was refused for, must not be missing from what it
        reads."""
        if isinstance(outcome, VersionConflict | StalePlan):
            for stale in outcome.stale if isinstance(outcome, VersionConflict) else outcome.shards:
                self._note_stale(stale)
            return
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
        self._see()

    def _note_stale(self, stale: StaleShard) -> None:
        """The refusal shows it as it is now; of one that is deleted, the change that did that."""
        if stale.current is not None:
            self.require_shards(stale.current.revision, [stale.key])
        elif stale.last_change is not None and stale.last_change.last_revision is not None:
            self.require_shards(stale.last_change.last_revision, [stale.key])

    async def arrived(self, outcome: Outcome) -> None:
        """Until what was committed by a long change is shown: before it is answered, and noted. Returns after
        `catch_up_seconds` anyway."""
        if not isinstance(outcome, PlanApplied) and not (
            isinstance(outcome, ShardsChanged) and len(outcome.shards) > _LONG
        ):
            return
        position, names = outcome.position, outcome.change.namespaces
        if self._table is not None and position.epoch == self._position.epoch:
            await self._catch_up(position.revision, names, self._limits.catch_up_seconds)

    def expect_shards(self, position: StreamPosition, keys: Iterable[ShardKey]) -> None:
        """Shards were read from the database as of `position`. What is read next must not be older."""
        if self._continues(position, None):
            self.require_shards(position.revision, keys)

    def expect_page(
        self, position: StreamPosition, where: ShardFilter, request: PageRequest[ShardKey], page: Page[Shard]
    ) -> None:
        """A page of shards was read from the database. Mostly a few are not as they are in memory: lookups of all
        others are answered from there."""
        if self._continues(position, where.namespace):
            self._expected.expect_page(ShownPage.of(position.revision, where, request, page))

    def expect_counts(self, position: StreamPosition, namespace: str | None, counts: Iterable[ShardCount]) -> None:
        """Shards of a namespace, or of all, were counted in the database. Where memory has other counts of a namespace,
        each of its shards may have changed."""
        if not self._continues(position, namespace):
            return
        held = () if self._table is None else self._table.counts(namespace)
        self._expected.expect_lists(position.revision, namespace)
        self._expected.expect_namespaces(position.revision, {count.namespace for count in {*counts} ^ {*held}})

    def require_shards(self, revision: int, keys: Iterable[ShardKey]) -> None:
        """What is read of these shards must not be older. What is loaded later is no older anyway."""
        if self._is_given_up:
            return
        behind = [key for key in keys if self._revision_of(key.namespace) < revision]
        if behind:
            self._expected.expect_shards(revision, behind)

    async def require_list(self, revision: int, namespace: str | None) -> None:
        """What is read of this namespace, or of any, must not be older: as much of it as comes soon is waited for."""
        names = None if namespace is None else [namespace]
        if self._is_given_up:
            return
        if self._revision_of(namespace) < revision and not await self._catch_up(
            revision, names, self._limits.catch_up_seconds
        ):
            if names is None:
                self._expected.expect_all(revision)
            else:
                self._expected.expect_namespaces(revision, names)

    async def caught_up(self, namespace: str | None) -> None:
        """Until the namespace shows what the feed has come to, or until none is behind: other long changes may come
        meanwhile. Returns after `catch_up_seconds` anyway. Then until it shows what is expected of it, if that comes
        within `soon_seconds`."""
        if self._backlog.items and self._backlog.of(namespace) is not None:
            if namespace is not None:
                await self._catch_up(self._position.revision, [namespace], self._limits.catch_up_seconds)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._limits.catch_up_seconds):
                        while self._backlog.items and await self._catch_up(self._position.revision, None, None):
                            pass
        await self._soon(lambda: self._expected.of_namespace(namespace))

    async def shows_soon(self, keys: Collection[ShardKey]) -> None:
        """Until it shows what is expected of these shards, if that comes within `soon_seconds`. Long changes are not
        waited for."""
        await self._soon(lambda: any(map(self._expects_shard, keys)))

    async def _soon(self, is_expecting: Callable[[], bool]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.soon_seconds):
                while self._fresh() is not None and self._expects and is_expecting():
                    await self._progress.wait()

    async def _catch_up(self, revision: int, names: Iterable[str] | None, seconds: float | None) -> bool:
        """Whether the replica shows these namespaces, or all, as of the revision, within so many seconds. What is not
        shown as it was any more is not waited for."""
        table, each = self._table, [None] if names is None else list(names)
        if table is None:
            return False

        def is_shown() -> bool:
            return all(self._revision_of(name) >= revision for name in each)

        def is_late() -> bool:
            lags = filter(None, map(self._backlog.of, each))
            return not all(self._feed.is_fresh(lag.received) for lag in lags)

        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while table is self._table and not is_shown() and not is_late():
                    await self._progress.wait()
        return table is self._table and is_shown()

    def lags_behind(self, diffs: Sequence[ShardDiff]) -> bool:
        """Of Watcher."""
        return bool(self._backlog.items) and self._table is not None and bool(self._behind(diffs))

    async def pass_by(self, diffs: Sequence[ShardDiff]) -> None:
        """Of Watcher. What is not shown in time is not shown from memory."""
        behind = self._behind(diffs)
        names = {diff.namespace for diff in behind}
        revision = max((diff.revision for diff in behind), default=0)
        if not await self._catch_up(revision, names, self._limits.catch_up_seconds):
            self.require_shards(revision, [diff.key for diff in behind])

    def _behind(self, diffs: Sequence[ShardDiff]) -> Sequence[ShardDiff]:
        lags = self._backlog.lags
        return [
            diff for diff in diffs if diff.namespace in lags and lags[diff.namespace].position.revision < diff.revision
        ]

    def _continues(self, position: StreamPosition, namespace: str | None) -> bool:
        """Whether it is ahead of what is shown of a namespace, or of any. What is loaded after the stream was replaced
        is no older anyway."""
        if position.epoch != self._position.epoch:
            self._invalidate()
            return False
        return position.revision > self._revision_of(namespace)

    async def ready(self) -> None:
        """Until it serves, and no namespace is behind."""
        await self._ready.wait()

    def advanced(self, position: StreamPosition, diffs: Sequence[ShardDiff], omitted: OmittedRange | None) -> None:
        before, self._position = self._position, position
        if self._history is not None:
            self._history.passed(diffs, omitted)
            if not self._history.is_one:
                _log.warning("the replica was read across a failover that lost changes; loading it anew")
                self._invalidate()
            self._settle()
        if self._table is None:
            self._backlog.add(before, diffs, omitted, self._feed.now())
        else:
            if self._backlog.items or omitted is not None:
                diffs = self._backlog.hold_back(before, diffs, omitted, self._feed.now())
            try:
                for diff in diffs:
                    self._table.apply(diff)
            except Exception:
                self._invalidate()  # a table that has taken half of them is of no revision
                raise
            if len(self._table) > self._limits.shards:
                self._invalidate()
            if not self._ready.is_set():
                self._set_ready()
        if omitted is not None:
            self._ready.clear()
            self._work.set()
        self._see()

    def _see(self) -> None:
        """Further than before."""
        self._expected.seen(self._position.revision, self._revision_of(None))
        self._proceed()

    def _proceed(self) -> None:
        """Let those look who wait for a revision to be shown."""
        progress, self._progress = self._progress, asyncio.Event()
        progress.set()

    def replaced(self, position: StreamPosition) -> None:
        self._position = position
        self._invalidate()

    async def run(self) -> None:
        """Load and follow until cancelled, or until there are more shards than it may hold."""
        while True:
            try:
                await self._serve()
            except Full:
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
            self._history = SameHistory(begin)
            try:
                begun = monotonic()
                table, self._complete_from = await load(self._stored, self._history, self._limits.shards)
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
                    raise Full
            finally:
                self._invalidate()
                self._position = _NOWHERE
                self._backlog, self._expected = Backlog(), Expectations()

    async def _apply_backlog(self, table: SortedTable) -> None:
        """Of a change that is omitted all rows at once, when they have been read."""
        backlog = self._backlog
        while backlog.items and not self._invalid:
            items = backlog.next(_APPLIED_AT_ONCE)
            staged = StagedDiffs(table)
            for item in items:
                if isinstance(item, OmittedRange):
                    async with aclosing(self._feed.read_omitted(item)) as slices:
                        async for rows in slices:
                            staged.add(rows)
                else:
                    staged.add([item])
            for _ in staged.prepare():
                await asyncio.sleep(0)
            if self._table_is_given_up():
                return
            staged.commit()
            backlog.done(len(items))
            self._see()
        if len(table) > self._limits.shards:
            self._invalidate()

    def _table_is_given_up(self) -> bool:
        """Since it was looked at last."""
        return self._invalid

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
        self._proceed()


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
        await end(task)
