"""Namespaces, by name and as a list, and refusing those that do not exist wherever a query names one."""

import difflib
from collections.abc import Sequence
from typing import Annotated, Final

import strawberry

from graph.connections import Connection
from graph.context import Info
from graph.cursors import namespace_cursor, read_namespace_cursor
from graph.errors import Missing
from graph.resolvers.arguments import After, Before, First, Last, check_identifiers, read_page
from persistence.outcomes import NotFound
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


async def require_namespaces(info: Info, *names: str | None) -> None:
    """Raises Missing for the first of these that there is not; null names none.

    A list asks only where it is empty: what it holds is of a namespace that exists, and none is ever deleted.
    """
    for name in names:
        if name is not None and not await info.context.store.namespaces.exists(name):
            raise await missing(info, NotFound(namespaces=(name,)))


async def missing(info: Info, outcome: NotFound) -> Missing:
    """To be raised. With the namespace that may have been meant, if it is about one."""
    nearest: Sequence[str] = ()
    if outcome.namespaces:
        name = outcome.namespaces[0]
        names = await info.context.store.namespaces.around(name, _LOOKED_AT)
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=_ALIKE)
    return Missing(outcome, next(iter(nearest), None))


_LOOKED_AT: Final = 50
"""Names on either side: compared in a millisecond, where a store has thousands."""
_ALIKE: Final = 0.75
"""Of 1: a letter that is missing, added, or in another place, in a name of four or more."""


def _cursor_of(item: Namespace) -> str:
    return namespace_cursor(item.name)
