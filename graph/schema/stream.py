"""The change stream: `streamHead`, and the subscription `shardDiffs`."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated

import strawberry

from graph.execution.context import Info
from graph.schema.arguments import require_namespaces
from graph.schema.history import ShardDiff
from graph.schema.scalars import Revision
from graph.schema.shards import ShardFilter
from persistence.codec import cursors
from persistence.codec.cursors import Cursor
from persistence.model import records
from persistence.model.fields import check_identifiers
from persistence.model.queries import EVERY_SHARD, DiffFilter
from persistence.model.records import StreamPosition
from persistence.model.stream import DiffBatch
from persistence.ports import DiffFeed


@strawberry.type(description="Where the change stream is.")
class StreamHead:
    cursor: Cursor = strawberry.field(description="Follow from here with `shardDiffs(after:)`.")
    epoch: str = strawberry.field(
        description="Names this stream. It changes when the store is restored or replaced; older cursors end there."
    )
    revision: Revision = strawberry.field(description="The newest revision; 0 before the first change.")
    oldest_revision: Revision = strawberry.field(
        description="The oldest revision that can still be read as of, diffed from and followed after."
    )


@dataclass(frozen=True, slots=True)
class Head:
    cursor: Cursor
    epoch: str
    revision: int
    oldest_revision: int


async def head(info: Info) -> Head:
    now = await info.context.services.store.stream.head()
    return Head(cursors.STREAM.write(now.position), now.epoch, now.revision, now.floor)


@strawberry.type(description="Shard changes in order, and the place in the stream they lead up to.")
class ShardDiffBatch:
    cursor: Cursor = strawberry.field(description="Resume here: `after` of the next subscription.")
    revision: Revision = strawberry.field(
        description="Everything up to and including this revision has been delivered to this subscription."
    )
    diffs: list[ShardDiff] = strawberry.field(
        description="The changes that match, in order of revision. Empty in a bookmark, which only moves the cursor."
    )
    caught_up: bool = strawberry.field(description="Whether this was the newest revision when the batch was made.")


@dataclass(frozen=True, slots=True)
class Batch:
    cursor: Cursor
    revision: int
    diffs: Sequence[records.ShardDiff]
    caught_up: bool


def as_batch(batch: DiffBatch) -> Batch:
    return Batch(cursors.STREAM.write(batch.position), batch.position.revision, batch.diffs, batch.caught_up)


@dataclass(frozen=True, slots=True)
class DiffStream:
    """The source of events of `shardDiffs`. Subscriber groups do not iterate over it: they `follow` once for many."""

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
                yield as_batch(batch)


async def shard_diffs(
    info: Info,
    namespace: Annotated[
        str | None, strawberry.argument(description="Only shards of this namespace; all by default.")
    ] = None,
    filter: Annotated[  # noqa: A002 - the argument's name in the schema
        ShardFilter | None,
        strawberry.argument(description="Only changes of shards that match before or after; all by default."),
    ] = None,
    after: Annotated[
        Cursor | None,
        strawberry.argument(
            description=(
                "Everything after this cursor, exactly once and in order: of the batch that came last, or of the list "
                "that was read before. By default everything from now on."
            )
        ),
    ] = None,
) -> AsyncIterable[Batch]:
    check_identifiers(namespace=namespace)
    where = DiffFilter(namespace, filter.query() if filter else EVERY_SHARD)
    position = None
    if info.context.resume_after:
        position = cursors.STREAM.read(info.context.resume_after, "Last-Event-ID")
    elif after is not None:
        position = cursors.STREAM.read(after, "after")
    await require_namespaces(info, namespace, where.shards.namespace)
    feed = info.context.services.feed
    # Awaited here, so that a position that cannot be served refuses the subscription.
    return DiffStream(feed, await feed.begin(position), where)
