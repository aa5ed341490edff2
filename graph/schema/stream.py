"""The change stream: where it is, and how to follow it."""

from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import Annotated

import strawberry

from graph.context import Info
from graph.cursors import Cursor, read_stream_cursor, stream_cursor
from graph.delivery.stream import Batch, DiffStream
from graph.inputs.reading import ShardFilter, shard_filter
from graph.resolvers.arguments import check_identifiers
from graph.resolvers.namespaces import require_namespaces
from persistence.ports import DiffFilter


@dataclass(frozen=True, slots=True)
class Head:
    cursor: Cursor
    epoch: str
    revision: int
    oldest_revision: int


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
) -> AsyncIterable[Batch]:
    check_identifiers(namespace=namespace)
    where = DiffFilter(namespace, shard_filter(filter))
    position = None
    if info.context.resume_after:
        position = read_stream_cursor(info.context.resume_after, "Last-Event-ID")
    elif after is not None:
        position = read_stream_cursor(after, "after")
    await require_namespaces(info, namespace, where.shards.namespace)
    feed = info.context.feed
    # Awaited here, so that a position that cannot be served refuses the subscription.
    return DiffStream(feed, await feed.begin(position), where)
