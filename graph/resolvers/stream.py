"""The change stream: where it is, and how to follow it."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated

import strawberry

from graph.context import Info
from graph.cursors import read_stream_cursor, stream_cursor
from graph.inputs.reading import ShardFilter, shard_filter
from graph.resolvers.arguments import check_identifiers
from graph.scalars import Cursor
from persistence.ports import DiffBatch, DiffFilter
from persistence.records import ShardDiff


@dataclass(frozen=True, slots=True)
class Head:
    cursor: Cursor
    epoch: str
    revision: int
    oldest_revision: int


@dataclass(frozen=True, slots=True)
class Batch:
    cursor: Cursor
    revision: int
    diffs: Sequence[ShardDiff]
    caught_up: bool


async def head(info: Info) -> Head:
    now = await info.context.store.stream.head()
    return Head(stream_cursor(now.position), now.epoch, now.revision, now.floor)


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
) -> AsyncIterator[Batch]:
    check_identifiers(namespace=namespace)
    where = DiffFilter(namespace, shard_filter(filter))
    position = None if after is None else read_stream_cursor(after, "after")
    return await _opened(info.context.feed.follow(position, where))


async def _opened(batches: AsyncGenerator[DiffBatch, None]) -> AsyncGenerator[Batch, None]:
    """The stream once its first batch is there: a position that cannot be served then refuses the subscription."""
    try:
        first = await anext(batches)
    except BaseException:
        await batches.aclose()
        raise
    return _continued(first, batches)


async def _continued(first: DiffBatch, batches: AsyncGenerator[DiffBatch, None]) -> AsyncGenerator[Batch, None]:
    async with aclosing(batches):
        yield _shown(first)
        async for batch in batches:
            yield _shown(batch)


def _shown(batch: DiffBatch) -> Batch:
    return Batch(stream_cursor(batch.position), batch.position.revision, batch.diffs, batch.caught_up)
