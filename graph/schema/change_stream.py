"""The stream of changes: the subscription `changes`."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, cast

import strawberry

from graph.execution.context import Info
from graph.execution.services import Feed
from graph.schema.arguments import require_namespaces
from graph.schema.changes import Change, ChangeFilter
from graph.schema.stream import BatchHead, NewestKnown, events
from persistence.codec import cursors
from persistence.codec.cursors import Cursor
from persistence.feed.changes import LiveChanges, changes_of
from persistence.model import queries, records
from persistence.model.records import StreamPosition
from persistence.model.stream import DiffBatch


@strawberry.type(description="Changes in order, and the place in the stream of changes they lead up to.")
class ChangeBatch:
    cursor: Cursor = strawberry.field(
        description="Resume here: `after` of the next subscription. It is of changes, not of `shardDiffs`."
    )
    changes: list[Change] = strawberry.field(
        description="The changes that match, oldest first. Empty in a bookmark, which only moves the cursor."
    )
    caught_up: bool = strawberry.field(
        description="Whether everything that the server knew of has been delivered when the batch was made."
    )
    head: BatchHead = strawberry.field(description="The newest that the server knew of when it made the batch.")


@dataclass(frozen=True, slots=True)
class Batch:
    """`ChangeBatch`."""

    cursor: Cursor
    changes: Sequence[records.Change]
    caught_up: bool
    head: NewestKnown


@dataclass(frozen=True, slots=True)
class ChangeSource:
    """The Source of `changes`."""

    live: LiveChanges
    feed: Feed
    begin: StreamPosition
    where: queries.ChangeFilter
    clock: Callable[[], datetime]

    def __aiter__(self) -> AsyncIterator[object]:
        return events(self)

    def follow(self, begin: StreamPosition) -> AsyncGenerator[DiffBatch, None]:
        return self.live.follow(begin, self.where)

    def event(self, batch: DiffBatch) -> Batch:
        newest = NewestKnown(self.feed.position.revision, batch.committed_at, self.clock())
        return Batch(self.cursor(batch.position), changes_of(batch), batch.caught_up, newest)

    def cursor(self, position: StreamPosition) -> Cursor:
        return cursors.CHANGE_STREAM.write(position)


async def change_stream(
    info: Info,
    filter: Annotated[  # noqa: A002 - the argument's name in the schema
        ChangeFilter | None, strawberry.argument(description="Which changes; all of them by default.")
    ] = None,
    after: Annotated[
        Cursor | None,
        strawberry.argument(
            description=(
                "Everything after this cursor, exactly once and in order: of the batch that came last. By default "
                "everything from now on."
            )
        ),
    ] = None,
) -> AsyncIterable[Batch]:
    where = filter.query() if filter else queries.ChangeFilter()
    position = None
    if info.context.resume_after:
        position = cursors.CHANGE_STREAM.read(info.context.resume_after, "Last-Event-ID")
    elif after is not None:
        position = cursors.CHANGE_STREAM.read(after, "after")
    await require_namespaces(info, where.namespace)
    services = info.context.services
    begin = await services.live_changes.begin(position)
    source = ChangeSource(services.live_changes, services.feed, begin, where, services.clock)
    return cast("AsyncIterable[Batch]", source)
