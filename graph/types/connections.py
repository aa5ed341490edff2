"""Relay connections as the API shows them, https://relay.dev/graphql/connections.htm; values: `connections.py`."""

import strawberry

from graph.scalars import Cursor, Revision
from graph.types.changes import Change
from graph.types.diffs import ShardDiff
from graph.types.namespaces import Namespace
from graph.types.shards import Shard


@strawberry.type(description="Whether there is more, and from where.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether items follow this page.")
    has_previous_page: bool = strawberry.field(description="Whether items precede this page.")
    start_cursor: str | None = strawberry.field(description="The first item's cursor; null on an empty page.")
    end_cursor: str | None = strawberry.field(description="The last item's cursor; null on an empty page.")


@strawberry.type
class _Connection:
    page_info: PageInfo = strawberry.field(description="Whether there is more, and from where.")
    total_count: int = strawberry.field(
        description="How many items there are on all pages. Counted only when selected."
    )


@strawberry.type
class _StampedConnection(_Connection):
    cursor: Cursor = strawberry.field(
        description="The place in the change stream this is exact at: follow with `shardDiffs(after:)`, miss nothing."
    )
    revision: Revision = strawberry.field(description="The revision this is exact at.")


@strawberry.type
class _Edge:
    cursor: str = strawberry.field(description="The item's place in the list, for `after` and `before`.")


@strawberry.type(description="A shard and its place in the list.")
class ShardEdge(_Edge):
    node: Shard = strawberry.field(description="The shard.")


@strawberry.type(description="A page of shards, ordered by namespace and shard id.")
class ShardConnection(_StampedConnection):
    edges: list[ShardEdge] = strawberry.field(description="The shards with their cursors.")
    nodes: list[Shard] = strawberry.field(description="The shards alone.")


@strawberry.type(description="A row of history and its place in the list.")
class ShardHistoryEdge(_Edge):
    node: ShardDiff = strawberry.field(description="The row.")


@strawberry.type(description="A page of history, ordered by revision.")
class ShardHistoryConnection(_Connection):
    edges: list[ShardHistoryEdge] = strawberry.field(description="The rows with their cursors.")
    nodes: list[ShardDiff] = strawberry.field(description="The rows alone.")


@strawberry.type(description="A difference and its place in the list.")
class ShardDiffEdge(_Edge):
    node: ShardDiff = strawberry.field(description="The difference.")


@strawberry.type(description="A page of the net difference between two revisions, ordered by namespace and shard id.")
class ShardDiffConnection(_StampedConnection):
    edges: list[ShardDiffEdge] = strawberry.field(description="The differences with their cursors.")
    nodes: list[ShardDiff] = strawberry.field(description="The differences alone.")


@strawberry.type(description="A change and its place in the list.")
class ChangeEdge(_Edge):
    node: Change = strawberry.field(description="The change.")


@strawberry.type(description="A page of changes, ordered by id.")
class ChangeConnection(_Connection):
    edges: list[ChangeEdge] = strawberry.field(description="The changes with their cursors.")
    nodes: list[Change] = strawberry.field(description="The changes alone.")


@strawberry.type(description="A namespace and its place in the list.")
class NamespaceEdge(_Edge):
    node: Namespace = strawberry.field(description="The namespace.")


@strawberry.type(description="A page of namespaces, ordered by name.")
class NamespaceConnection(_Connection):
    edges: list[NamespaceEdge] = strawberry.field(description="The namespaces with their cursors.")
    nodes: list[Namespace] = strawberry.field(description="The namespaces alone.")
