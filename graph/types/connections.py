"""Relay connections as the API shows them; what they have in common: `paging.py`, values: `graph/connections.py`."""

import strawberry

from graph.types.changes import Change
from graph.types.diffs import ShardDiff
from graph.types.namespaces import Namespace
from graph.types.nodes import Node
from graph.types.paging import Paged, Placed, StampedPaged
from graph.types.refused_changes import RefusedChange
from graph.types.shards import Shard


@strawberry.type(description="A shard and its place in the list.")
class ShardEdge(Placed):
    node: Shard = strawberry.field(description="The shard.")


@strawberry.type(description="A page of shards, ordered by namespace and shard id.")
class ShardConnection(StampedPaged):
    edges: list[ShardEdge] = strawberry.field(description="The shards with their cursors.")
    nodes: list[Shard] = strawberry.field(description="The shards alone.")


@strawberry.type(description="A row of history and its place in the list.")
class ShardHistoryEdge(Placed):
    node: ShardDiff = strawberry.field(description="The row.")


@strawberry.type(description="A page of history, ordered by revision.")
class ShardHistoryConnection(Paged):
    edges: list[ShardHistoryEdge] = strawberry.field(description="The rows with their cursors.")
    nodes: list[ShardDiff] = strawberry.field(description="The rows alone.")


@strawberry.type(description="A difference and its place in the list.")
class ShardDiffEdge(Placed):
    node: ShardDiff = strawberry.field(description="The difference.")


@strawberry.type(description="A page of the net difference between two revisions, ordered by namespace and shard id.")
class ShardDiffConnection(StampedPaged):
    edges: list[ShardDiffEdge] = strawberry.field(description="The differences with their cursors.")
    nodes: list[ShardDiff] = strawberry.field(description="The differences alone.")


@strawberry.type(description="A change and its place in the list.")
class ChangeEdge(Placed):
    node: Change = strawberry.field(description="The change.")


@strawberry.type(description="A page of changes, ordered by id.")
class ChangeConnection(Paged):
    edges: list[ChangeEdge] = strawberry.field(description="The changes with their cursors.")
    nodes: list[Change] = strawberry.field(description="The changes alone.")


@strawberry.type(description="A refused change and its place in the list.")
class RefusedChangeEdge(Placed):
    node: RefusedChange = strawberry.field(description="The refused change.")


@strawberry.type(description="A page of refused changes, ordered by id.")
class RefusedChangeConnection(Paged):
    edges: list[RefusedChangeEdge] = strawberry.field(description="The refused changes with their cursors.")
    nodes: list[RefusedChange] = strawberry.field(description="The refused changes alone.")


@strawberry.type(description="A namespace and its place in the list.")
class NamespaceEdge(Placed):
    node: Namespace = strawberry.field(description="The namespace.")


@strawberry.type(description="A page of namespaces, ordered by name.")
class NamespaceConnection(Paged):
    edges: list[NamespaceEdge] = strawberry.field(description="The namespaces with their cursors.")
    nodes: list[Namespace] = strawberry.field(description="The namespaces alone.")


@strawberry.type(description="A node and its place in the list.")
class NodeEdge(Placed):
    node: Node = strawberry.field(description="The node.")


@strawberry.type(description="A page of nodes, ordered by id.")
class NodeConnection(Paged):
    edges: list[NodeEdge] = strawberry.field(description="The nodes with their cursors.")
    nodes: list[Node] = strawberry.field(description="The nodes alone.")
