"""Nodes as the API shows them; the record is `persistence.records.Node`.

Nodes, by id and as a list, and what draining one would do.
"""

from datetime import datetime
from typing import Annotated

import strawberry

import graph.schema.enums  # noqa: F401 - registers the enums these types name
from graph.execution.context import Info
from graph.schema.arguments import check_identifiers
from graph.schema.pagination import After, Before, Connection, First, Last, Paged, Placed, read_page
from graph.schema.scalars import JSON, Revision
from persistence.codec.cursors import node_cursor, read_node_cursor
from persistence.model import queries, records
from persistence.model.fields import Problems
from persistence.model.records import NodeStatus
from strategies.parameters import MAX_WEIGHT


@strawberry.type(description="A mesh node that may own shards.")
class Node:
    node_id: str = strawberry.field(description="Its id. At most 128 characters.")
    region: str | None = strawberry.field(description="The region it is in, as locality hints name it.")
    zone: str | None = strawberry.field(description="The zone it is in, as locality hints name it.")
    labels: JSON = strawberry.field(description="A JSON object of strings, which selectors can match.")
    weight: int = strawberry.field(
        description="How much it takes, relative to other nodes: a whole number from 1 to 1,048,576."
    )
    status: NodeStatus = strawberry.field(description="Whether it may own shards.")
    change_ticket: str | None = strawberry.field(description="The ticket of its last change.")
    version: Revision = strawberry.field(
        description=(
            "Counts its changes, from 1, never reused, not even after it was removed. The `expectedVersion` of "
            "updateNode and drainNode."
        )
    )
    shard_count: int = strawberry.field(description="How many shards it owns, of all namespaces.")
    created_at: datetime = strawberry.field(description="When it was first registered.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")


NodeIdArgument = Annotated[str, strawberry.argument(description="The node's id.")]


async def node(info: Info, node_id: NodeIdArgument) -> records.Node | None:
    check_identifiers(nodeId=node_id)
    return await info.context.store.nodes.get(node_id)


_NO_RESTRICTION = "Null or an empty list does not restrict. At most 1,000 values."


@strawberry.input(description="Which nodes. All fields must match; within a list, any value.")
class NodeFilter:
    statuses: list[NodeStatus] | None = strawberry.field(
        default=None, description="In one of these states. Null or an empty list: all nodes but the removed ones."
    )
    regions: list[str] | None = strawberry.field(default=None, description=f"In one of these. {_NO_RESTRICTION}")
    zones: list[str] | None = strawberry.field(default=None, description=f"In one of these. {_NO_RESTRICTION}")


async def nodes(
    info: Info,
    filter: Annotated[  # noqa: A002 - the argument's name in the schema
        NodeFilter | None, strawberry.argument(description="Which nodes; all but the removed ones by default.")
    ] = None,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Connection[records.Node]:
    where = node_filter(filter)
    page = read_page(info, first, after, last, before, read_node_cursor)
    reader = info.context.store.nodes
    return Connection(await reader.page(where, page), _cursor_of)


def _cursor_of(item: records.Node) -> str:
    return node_cursor(item.node_id)


@strawberry.type(description="A node and its place in the list.")
class NodeEdge(Placed):
    node: Node = strawberry.field(description="The node.")


@strawberry.type(description="A page of nodes, ordered by id.")
class NodeConnection(Paged):
    edges: list[NodeEdge] = strawberry.field(description="The nodes with their cursors.")
    nodes: list[Node] = strawberry.field(description="The nodes alone.")


NODE_ID = "The node's id. Letters, digits, '.', '_', ':' and '-'; at most 128 characters."

REGION = "The region it is in, as locality hints name it."

ZONE = "The zone it is in, as locality hints name it."

LABELS = 'A JSON object of strings that selectors can match, such as {"disk": "ssd"}.'

WEIGHT = f"How much it takes, relative to other nodes: a whole number from 1 to {MAX_WEIGHT:,}."


def node_filter(asked: NodeFilter | None) -> queries.NodeFilter:
    """Raises InvalidArgument naming `filter.` and the field."""
    if asked is None:
        return queries.NodeFilter()
    where = queries.NodeFilter(asked.statuses or None, asked.regions or None, asked.zones or None)
    problems = Problems()
    where.add_problems(problems)
    problems.raise_if_any()
    return where
