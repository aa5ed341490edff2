"""Namespaces, by name and as a list."""

from typing import Annotated

import strawberry

from graph.connections import Connection
from graph.context import Info
from graph.cursors import namespace_cursor, read_namespace_cursor
from graph.resolvers.arguments import After, Before, First, Last, check_identifiers, read_page
from persistence.records import Namespace


async def namespace(
    info: Info, name: Annotated[str, strawberry.argument(description="The namespace's name.")]
) -> Namespace | None:
    check_identifiers(name=name)
    return await info.context.store.namespaces.get(name)


async def namespaces(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[Namespace]:
    page = read_page(info, first, after, last, before, read_namespace_cursor)
    reader = info.context.store.namespaces
    return Connection(await reader.page(page), _cursor_of)


def _cursor_of(item: Namespace) -> str:
    return namespace_cursor(item.name)
