"""What the resolver of `shardDiffs` gives: a place in the feed, and a filter."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from graph.cursors import Cursor, stream_cursor
from persistence.ports import DiffBatch, DiffFeed, DiffFilter
from persistence.records import ShardDiff, StreamPosition


@dataclass(frozen=True, slots=True)
class Batch:
    cursor: Cursor
    revision: int
    diffs: Sequence[ShardDiff]
    caught_up: bool


@dataclass(frozen=True, slots=True)
class DiffStream:
    """Can be iterated like any source of events. Who delivers to many takes it apart instead, and follows once."""

    feed: DiffFeed
    begin: StreamPosition
    where: DiffFilter

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self._batches()

    def follow(self, begin: StreamPosition) -> AsyncGenerator[DiffBatch, None]:
        return self.feed.follow(begin, self.where)

    async def _batches(self) -> AsyncGenerator[Batch, None]:
        async with aclosing(self.follow(self.begin)) as batches:
            async for batch in batches:
                yield shown(batch)


def shown(batch: DiffBatch) -> Batch:
    return Batch(stream_cursor(batch.position), batch.position.revision, batch.diffs, batch.caught_up)
