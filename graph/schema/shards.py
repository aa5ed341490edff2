"""Shards as the API shows them; the record is `persistence.records.Shard`.

Point lookups and lists of shards, now and as of the past.
"""

from datetime import datetime
from typing import Annotated

import strawberry

import graph.schema.enums  # noqa: F401 - registers the enums these types name
from graph.execution.context import Info
from graph.schema.arguments import (
    AsOfArgument,
    AtLeast,
    AtLeastCursor,
    NamespaceName,
    check_filter,
    check_identifiers,
    reached,
)
from graph.schema.namespaces import require_namespaces
from graph.schema.pagination import After, Before, First, Last, Placed, StampedConnection, StampedPaged, read_page
from graph.schema.scalars import Revision
from persistence.codec.cursors import read_shard_cursor, shard_cursor
from persistence.model import queries, records
from persistence.model.records import ShardStatus


@strawberry.type(description="A decision that a shard stays where it is; rebalances leave it alone.")
class Pin:
    by: str = strawberry.field(description="Who pinned it.")
    reason: str = strawberry.field(description="Why.")
    until: datetime | None = strawberry.field(description="When the pin ends; null for no end.")


@strawberry.type(
    description="One shard as of `revision`: which node owns it, and everything a mesh node needs to act on that."
)
class Shard:
    namespace: str = strawberry.field(description="The namespace it belongs to.")
    shard_id: str = strawberry.field(description="Its id, unique within the namespace. At most 128 characters.")
    strategy: str = strawberry.field(description="The placement strategy that was in force when its owner was set.")
    owner_node_id: str = strawberry.field(description="The mesh node that owns it.")
    leader_id: str | None = strawberry.field(description="The replica that leads it, where there is one.")
    capacity_hint: float = strawberry.field(
        description="How much of a node it takes, relative to other shards. Finite, 0 or more; 1 by default."
    )
    locality_hint: str | None = strawberry.field(
        description="Where it would rather be: `region`, `region/zone`, `zone:x` or `region:x`."
    )
    status: ShardStatus = strawberry.field(description="What the owner may do with it.")
    pinned: Pin | None = strawberry.field(description="The decision that it stays where it is, if there is one.")
    anti_affinity_group: str | None = strawberry.field(
        description="Shards of one group of a namespace are on different nodes; null if it is in none."
    )
    change_ticket: str | None = strawberry.field(description="The ticket of its last change.")
    version: Revision = strawberry.field(
        description=(
            "Counts the changes of this shard, from 1, never reused, not even after deletion. "
            "Hand it back as `expectedVersion` to change the shard you have seen and no other."
        )
    )
    owner_epoch: Revision = strawberry.field(
        description="Counts its changes of owner, from 1. A fencing token: refuse whoever shows a lower one."
    )
    checksum: str = strawberry.field(
        description=(
            "32 hex digits over identity and content, not over version, revision or times: "
            "equal content, equal checksum."
        )
    )
    revision: Revision = strawberry.field(description="The revision of its last change.")
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When it last changed.")


@strawberry.type(description="The identity of a shard.")
class ShardKey:
    namespace: str = strawberry.field(description="The namespace.")
    shard_id: str = strawberry.field(description="The shard's id within it.")


async def shard(
    info: Info,
    namespace: NamespaceName,
    shard_id: Annotated[str, strawberry.argument(description="The shard's id within the namespace.")],
    as_of: AsOfArgument = None,
    at_least: AtLeast = None,
    at_least_cursor: AtLeastCursor = None,
) -> records.Shard | None:
    check_identifiers(namespace=namespace, shardId=shard_id)
    await reached(info.context.feed, at_least, at_least_cursor)
    moment = as_of.moment() if as_of else None
    return (await info.context.store.shards.get(records.ShardKey(namespace, shard_id), moment)).value


_NO_RESTRICTION = "Null or an empty list does not restrict. At most 1,000 values."


@strawberry.input(description="Which shards. All fields must match; within a list, any value.")
class ShardFilter:
    namespace: str | None = strawberry.field(default=None, description="Of this namespace.")
    shard_ids: list[str] | None = strawberry.field(
        default=None, description=f"With one of these ids. {_NO_RESTRICTION}"
    )
    owner_node_ids: list[str] | None = strawberry.field(
        default=None, description=f"Owned by one of these nodes. {_NO_RESTRICTION}"
    )
    leader_ids: list[str] | None = strawberry.field(
        default=None, description=f"Led by one of these replicas. {_NO_RESTRICTION}"
    )
    statuses: list[ShardStatus] | None = strawberry.field(
        default=None, description=f"In one of these states. {_NO_RESTRICTION}"
    )
    strategies: list[str] | None = strawberry.field(
        default=None, description=f"Placed by one of these strategies. {_NO_RESTRICTION}"
    )
    change_ticket: str | None = strawberry.field(default=None, description="Whose last change has this ticket.")
    search: str | None = strawberry.field(
        default=None,
        description="Whose id contains this, case and all. 1 to 128 characters.",
    )


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
) -> StampedConnection[records.Shard]:
    where, moment = shard_filter(filter), as_of.moment() if as_of else None
    page = read_page(info, first, after, last, before, read_shard_cursor)
    await reached(info.context.feed, at_least, at_least_cursor)
    reader = info.context.store.shards
    found = await reader.page(where, page, moment)
    if not found.value.items:
        await require_namespaces(info, where.namespace)
    return StampedConnection(found.value, _cursor_of, found.position)


def _cursor_of(item: records.Shard) -> str:
    return shard_cursor(item.key)


@strawberry.type(description="A shard and its place in the list.")
class ShardEdge(Placed):
    node: Shard = strawberry.field(description="The shard.")


@strawberry.type(description="A page of shards, ordered by namespace and shard id.")
class ShardConnection(StampedPaged):
    edges: list[ShardEdge] = strawberry.field(description="The shards with their cursors.")
    nodes: list[Shard] = strawberry.field(description="The shards alone.")


def shard_filter(given: ShardFilter | None) -> queries.ShardFilter:
    """Raises InvalidArgument naming `filter.` and the field."""
    if given is None:
        return queries.ShardFilter()
    where = queries.ShardFilter(
        namespace=given.namespace,
        shard_ids=given.shard_ids or None,
        owner_node_ids=given.owner_node_ids or None,
        leader_ids=given.leader_ids or None,
        statuses=given.statuses or None,
        strategies=given.strategies or None,
        change_ticket=given.change_ticket,
        search=given.search,
    )
    check_filter(where)
    return where
