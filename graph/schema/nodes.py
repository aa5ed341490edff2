"""Nodes: the type, its connection and filter, one by id and lists; and descriptions that inputs share."""

from dataclasses import replace
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Final

import strawberry

from graph.execution.context import Info
from graph.execution.cost import ATTRIBUTION, LOADS, costs
from graph.execution.selections import TOGETHER
from graph.schema.arguments import AsOf, invalid
from graph.schema.changes import Change
from graph.schema.loads import NamespaceLoad, node_loads
from graph.schema.pagination import (
    After,
    Before,
    Connection,
    First,
    Last,
    Paged,
    Placed,
    connection,
    read_page,
    selects,
)
from graph.schema.scalars import JSON, Revision
from graph.schema.selected import OfSelection
from persistence.codec import cursors
from persistence.model import queries, records
from persistence.model.fields import check_identifiers
from persistence.model.records import NodeStatus
from strategies.parameters import MAX_WEIGHT

NODE_ID: Final = "The node's id. Letters, digits and . _ : - @ / + = [ ]; at most 128 characters."

REGION: Final = "The region it is in, as locality hints name it."

ZONE: Final = "The zone it is in, as locality hints name it."

LABELS: Final = 'A JSON object of strings that selectors can match, such as {"disk": "ssd"}.'

WEIGHT: Final = f"How much it takes, relative to other nodes: a whole number from 1 to {MAX_WEIGHT:,}."

EXPECTED_VERSION: Final = (
    "The version you have seen. If the node is at another one, nothing is written and the answer shows it."
)


async def last_change(parent: strawberry.Parent[records.Node], info: Info) -> records.Change | None:
    return await info.context.services.attribution.last_change_of_node(parent)


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
    shard_count: int = strawberry.field(
        description="How many shards it owns, of all namespaces. Counted only when selected."
    )
    leader_count: int = strawberry.field(
        description="How many shards it leads, of all namespaces. Counted only when selected."
    )
    created_at: datetime = strawberry.field(description="When it was first registered.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")
    loads = strawberry.field(
        resolver=node_loads,
        graphql_type=list[NamespaceLoad],
        description="What it owns of each namespace, as of the newest revision received, and what it might.",
        metadata={**costs(LOADS), TOGETHER: True},
    )
    last_change = strawberry.field(
        resolver=last_change,
        graphql_type=Change | None,
        description="The change that made this version of it.",
        metadata=costs(ATTRIBUTION),
    )


@strawberry.type(description="A node and its place in the list.")
class NodeEdge(Placed):
    node: Node = strawberry.field(description="The node.")


@strawberry.type(description="A page of nodes, ordered by id.")
class NodeConnection(Paged):
    edges: list[NodeEdge] = strawberry.field(description="The nodes with their cursors.")
    nodes: list[Node] = strawberry.field(description="The nodes alone.")


_NO_RESTRICTION: Final = "Null or an empty list does not restrict. At most 1,000 values."


@strawberry.input(description="Which nodes. All fields must match; within a list, any value.")
class NodeFilter:
    statuses: list[NodeStatus] | None = strawberry.field(
        default=None, description="In one of these states. Null or an empty list: all nodes but the removed ones."
    )
    regions: list[str] | None = strawberry.field(default=None, description=f"In one of these. {_NO_RESTRICTION}")
    zones: list[str] | None = strawberry.field(default=None, description=f"In one of these. {_NO_RESTRICTION}")

    def query(self) -> queries.NodeFilter:
        """Raises InvalidArgument naming `filter.` and the field."""
        return queries.NodeFilter(self.statuses or None, self.regions or None, self.zones or None).checked()


NodeIdArgument = Annotated[str, strawberry.argument(description="The node's id.")]


async def node(info: Info, node_id: NodeIdArgument) -> records.Node | None:
    check_identifiers(nodeId=node_id)
    return await info.context.services.store.nodes.get(node_id, shards_counted=_counts(info))


async def nodes(
    info: Info,
    filter: Annotated[  # noqa: A002 - the argument's name in the schema
        NodeFilter | None, strawberry.argument(description="Which nodes; all but the removed ones by default.")
    ] = None,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    as_of: Annotated[
        AsOf | None,
        strawberry.argument(
            description=(
                "Answer as they stood at a point in time; a revision is until the next one is made. Not "
                "with `shardCount`, `leaderCount` and `loads`: `shards(asOf:)` has what they owned."
            )
        ),
    ] = None,
) -> Connection[records.Node]:
    where = filter.query() if filter else queries.NodeFilter()
    page = read_page(info, cursors.NODES, first, after, last, before)
    store = info.context.services.store
    if as_of is None:
        found = await store.nodes.page(where, page, shards_counted=_counts(info))
    else:
        if unknown := _OF_SHARDS(info):
            what = "what nodes owned then is in shards(asOf:, filter: {ownerNodeIds:}) and its totalCount"
            raise invalid("asOf", f"cannot be given where {unknown} is selected: {what}")
        found = await store.nodes.page_as_of(where, page, as_of.record())
    if selects(info, "lastChange"):
        found = replace(found, items=await info.context.services.attribution.nodes(found.items))
    return await connection(info, found, cursors.NODES, attrgetter("node_id"))


def _selected_of_shards(paths: frozenset[str]) -> str | None:
    """A field of nodes that follows from the shards of now."""
    fields = ("shardCount", "leaderCount", "loads")
    return next((name for name in fields if not paths.isdisjoint((f"nodes.{name}", f"edges.node.{name}"))), None)


_OF_SHARDS: Final = OfSelection(_selected_of_shards)


def _counts(info: Info) -> bool:
    """Whether shards have to be counted."""
    return selects(info, "shardCount") or selects(info, "leaderCount")
