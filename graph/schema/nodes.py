"""Nodes, by id and as a list, and what draining one would do."""

from typing import Annotated

import strawberry

from graph.connections import Connection
from graph.context import Info
from graph.cursors import node_cursor, read_node_cursor
from graph.inputs.nodes import NodeFilter, node_filter
from graph.resolvers.arguments import After, Before, First, Last, check_identifiers, read_page
from persistence.outcomes import NotFound
from persistence.planning.preflight import DrainPreflight
from persistence.records import Node

_NodeId = Annotated[str, strawberry.argument(description="The node's id.")]


async def node(info: Info, node_id: _NodeId) -> Node | None:
    check_identifiers(nodeId=node_id)
    return await info.context.store.nodes.get(node_id)


async def nodes(
    info: Info,
    filter: Annotated[  # noqa: A002 - the argument's name in the schema
        NodeFilter | None, strawberry.argument(description="Which nodes; all but the removed ones by default.")
    ] = None,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Connection[Node]:
    where = node_filter(filter)
    page = read_page(info, first, after, last, before, read_node_cursor)
    reader = info.context.store.nodes
    return Connection(await reader.page(where, page), _cursor_of)


async def drain_preflight(info: Info, node_id: _NodeId) -> DrainPreflight | None:
    found = await info.context.rebalancer.preflight(node_id)
    return None if isinstance(found, NotFound) else found


def _cursor_of(item: Node) -> str:
    return node_cursor(item.node_id)
