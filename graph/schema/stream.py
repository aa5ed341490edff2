"""The change stream: `streamHead`, and the subscription `shardDiffs`."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Protocol, cast

import strawberry

from graph.execution.context import Info
from graph.schema.arguments import require_namespaces
from graph.schema.history import ShardDiff
from graph.schema.pagination import selects
from graph.schema.scalars import Revision
from graph.schema.shards import ShardFilter
from persistence.codec import cursors
from persistence.codec.cursors import Cursor
from persistence.model import records
from persistence.model.fields import check_identifiers
from persistence.model.queries import EVERY_SHARD, DiffFilter
from persistence.model.records import StreamPosition
from persistence.model.stream import DiffBatch
from persistence.ports.feed import DiffFeed


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
    oldest_at: datetime | None = strawberry.field(
        description="The oldest time that can still be read as of and diffed from; null before the first change."
    )
    committed_at: datetime | None = strawberry.field(
        description="When the newest change was committed, of shards or of anything else; null before the first one."
    )
    server_time: datetime = strawberry.field(
        description="The time of this server's clock. Ages are to be taken from it, not from the clock of the client."
    )


HEAD: Final = "head"
"""The field of a batch that depends on when the batch is shown."""


@dataclass(frozen=True, slots=True)
class Head:
    cursor: Cursor
    epoch: str
    revision: int
    oldest_revision: int
    oldest_at: datetime | None
    committed_at: datetime | None
    server_time: datetime


async def head(info: Info) -> Head:
    stream = info.context.services.store.stream
    oldest_at = await stream.oldest_at() if selects(info, "oldestAt") else None
    now, time = await stream.head(), info.context.services.clock()
    cursor = cursors.STREAM.write(now.position)
    return Head(cursor, now.epoch, now.revision, now.floor, oldest_at, now.committed_at, time)


@strawberry.type(description="The newest that a server knew of when it made a batch.")
class BatchHead:
    revision: Revision = strawberry.field(description="The newest revision, of all shards.")
    committed_at: datetime | None = strawberry.field(
        description="When the newest change was committed, of shards or of anything else; null before the first one."
    )
    server_time: datetime = strawberry.field(description="The time of the server's clock when it made the batch.")


@dataclass(frozen=True, slots=True)
class NewestKnown:
    """`BatchHead`."""

    revision: int
    committed_at: datetime | None
    server_time: datetime


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
    head: BatchHead = strawberry.field(description="The newest that the server knew of: how far behind this batch is.")


@dataclass(frozen=True, slots=True)
class Batch:
    cursor: Cursor
    revision: int
    diffs: Sequence[records.ShardDiff]
    caught_up: bool
    head: NewestKnown


def as_batch(batch: DiffBatch, now: datetime) -> Batch:
    newest = NewestKnown(batch.newest, batch.committed_at, now)
    cursor = cursors.STREAM.write(batch.position)
    return Batch(cursor, batch.position.revision, batch.diffs, batch.caught_up, newest)


class Source(Protocol):
    """Where events of a subscription come from. Subscriber groups do not iterate over it: they `follow` once for
    many."""

    @property
    def begin(self) -> StreamPosition: ...

    def __aiter__(self) -> AsyncIterator[object]: ...

    def follow(self, begin: StreamPosition) -> AsyncGenerator[DiffBatch, None]:
        """What is after a position, for ever."""
        ...

    def event(self, batch: DiffBatch) -> object:
        """What a batch is executed with."""
        ...

    def cursor(self, position: StreamPosition) -> Cursor:
        """Where to resume."""
        ...


@dataclass(frozen=True, slots=True)
class DiffStream:
    """The Source of `shardDiffs`."""

    feed: DiffFeed
    begin: StreamPosition
    where: DiffFilter
    clock: Callable[[], datetime]

    def __aiter__(self) -> AsyncIterator[object]:
        return events(self)

    def follow(self, begin: StreamPosition) -> AsyncGenerator[DiffBatch, None]:
        return self.feed.follow(begin, self.where)

    def event(self, batch: DiffBatch) -> Batch:
        return as_batch(batch, self.clock())

    def cursor(self, position: StreamPosition) -> Cursor:
        return cursors.STREAM.write(position)


async def events(source: Source) -> AsyncGenerator[object, None]:
    """Of one subscriber that shares nothing."""
    async with aclosing(source.follow(source.begin)) as batches:
        async for batch in batches:
            yield source.event(batch)


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
    return cast(
        "AsyncIterable[Batch]", DiffStream(feed, await feed.begin(position), where, info.context.services.clock)
    )
