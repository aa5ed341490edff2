"""The change stream of a store, and the feed of it in one process. tests/contract holds every backend to them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Protocol

from persistence.model.queries import DiffFilter
from persistence.model.records import NO_CHANGE, ChangeMark, ShardDiff, StreamPosition
from persistence.model.stream import ChangedShard, DiffBatch, OmittedRange, StreamHead, StreamPage


class ChangeStream(Protocol):
    """History as a stream."""

    async def head(self) -> StreamHead:
        """With the time of the newest change."""
        ...

    async def oldest_at(self) -> datetime | None:
        """The oldest time that can be read as of: when the change was committed that made the oldest revision, or the
        first one of all. Null before that."""
        ...

    async def position_at(self, revision: int) -> StreamPosition:
        """The position after a revision. Raises FutureCursor beyond the head and Compacted below the floor."""
        ...

    async def renew(self, epoch: str) -> None:
        """Start a new epoch in place of this one, if it still is the current one: changes seen under it are lost."""
        ...

    async def after(
        self, revision: int, limit: int, namespace: str | None = None, *, mark: ChangeMark = NO_CHANGE
    ) -> StreamPage:
        """Up to `limit` rows after `revision` in order, of one namespace if it is named.

        To go on from rows that were read before, pass the `mark` they led to, and drop the page if that is not `known`:
        it is of another history, however well its revisions follow. Neither that nor a head before `revision` is
        answered by a primary that was left behind by a failover: raises StoreUnavailable where that is not certain.
        """
        ...

    async def rest_of_change(self, omitted: OmittedRange, revision: int, limit: int) -> Sequence[ChangedShard]:
        """Up to `limit` rows of an omitted range that follow `revision`, in order. None, or not all, where history does
        not have that change, or not all of it any more."""
        ...


class CommitSignal(Protocol):
    """A hint that something may have been committed; never data, and it may be lost, so readers poll as well."""

    async def wait(self) -> None:
        """Returns at the first hint since the last return; at once if there has been one. For one waiter."""
        ...


class DiffFeed(Protocol):
    """The live end of the stream, shared by all subscribers of a process."""

    async def wait_for(self, revision: int) -> None:
        """Until this process has received `revision`. Raises StaleRead when that takes too long, and FutureRevision at
        once where the store has no such revision."""
        ...

    async def wait_for_position(self, position: StreamPosition) -> None:
        """Until this process has received everything up to the position. Raises StaleRead when that takes too long, and
        at once EpochMismatch or FutureCursor for a position that is not in the store's history."""
        ...

    async def begin(self, after: StreamPosition | None) -> StreamPosition:
        """Where following starts: at that position, or (null) at the head.

        Raises Compacted, FutureCursor or EpochMismatch when the position cannot be served: EpochMismatch also where the
        change it names was lost.
        """
        ...

    def follow(self, begin: StreamPosition, where: DiffFilter) -> AsyncGenerator[DiffBatch, None]:
        """Everything after a position that `begin` gave or a batch led to, once and in order, for ever.

        The first batch comes at once, with or without diffs. Raises Compacted or EpochMismatch when what follows cannot
        be served any more.
        """
        ...


class Watcher(Protocol):
    """A part of this process that keeps up with the feed itself: called before subscribers are woken, and waited for by
    those who read what it still has to read, so that it is never behind. What it raises is a defect: it is logged, and
    subscribers get those diffs a poll later."""

    def advanced(self, position: StreamPosition, diffs: Sequence[ShardDiff], omitted: OmittedRange | None) -> None:
        """These diffs came next, and then the omitted range, which the feed reads for it; both lead to `position`."""
        ...

    def replaced(self, position: StreamPosition) -> None:
        """Another stream goes on at `position`; nothing received of the old one holds."""
        ...

    def lags_behind(self, diffs: Sequence[ShardDiff]) -> bool:
        """Whether it still shows any of these shards as it was before."""
        ...

    async def pass_by(self, diffs: Sequence[ShardDiff]) -> None:
        """Until it does not any more."""
        ...
