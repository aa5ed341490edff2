"""Point lookups and lists of shards, now and as of the past."""

from typing import Annotated

import strawberry

from graph.connections import StampedConnection
from graph.context import Info
from graph.cursors import read_shard_cursor, shard_cursor
from graph.inputs.reading import ShardFilter, shard_filter
from graph.resolvers.arguments import (
    After,
    AsOfArgument,
    AtLeast,
    AtLeastCursor,
    Before,
    First,
    Last,
    NamespaceName,
    check_identifiers,
    reached,
    read_page,
)
from graph.resolvers.namespaces import require_namespaces
from persistence.records import Shard, ShardKey


async def shard(
    info: Info,
    namespace: NamespaceName,
    shard_id: Annotated[str, strawberry.argument(description="The shard's id within the namespace.")],
    as_of: AsOfArgument = None,
    at_least: AtLeast = None,
    at_least_cursor: AtLeastCursor = None,
) -> Shard | None:
    check_identifiers(namespace=namespace, shardId=shard_id)
    await reached(info.context.feed, at_least, at_least_cursor)
    moment = as_of.moment() if as_of else None
    return (await info.context.store.shards.get(ShardKey(namespace, shard_id), moment)).value


async def shards(
    info: Info,
    filter: Annotated[  # noqa: A002 - the argument's name in the schema
        ShardFilter | None, strawberry.argument(description="Which shards; all of them by default.")
    ] = None,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    as_of: AsOfArgument = None,
    at_least: AtLeast = None,
    at_least_cursor: AtLeastCursor = None,
) -> StampedConnection[Shard]:
    where, moment = shard_filter(filter), as_of.moment() if as_of else None
    page = read_page(info, first, after, last, before, read_shard_cursor)
    await reached(info.context.feed, at_least, at_least_cursor)
    reader = info.context.store.shards
    found = await reader.page(where, page, moment)
    if not found.value.items:
        await require_namespaces(info, where.namespace)
    return StampedConnection(found.value, _cursor_of, found.position)


def _cursor_of(item: Shard) -> str:
    return shard_cursor(item.key)
