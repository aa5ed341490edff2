"""The log of what was refused."""

from typing import Annotated

import strawberry

from graph.connections import Connection
from graph.context import Info
from graph.cursors import read_refusal_cursor, refusal_cursor
from graph.inputs.reading import RefusalFilter, refusal_filter
from graph.resolvers.arguments import After, Before, First, Last, OrderBy, read_page
from graph.resolvers.namespaces import require_namespaces
from persistence.queries import HistoryOrder
from persistence.records import Refusal


async def refusals(
    info: Info,
    filter: Annotated[  # noqa: A002 - the argument's name in the schema
        RefusalFilter | None, strawberry.argument(description="Which refusals; all of them by default.")
    ] = None,
    order_by: OrderBy = HistoryOrder.REVISION_DESC,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Connection[Refusal]:
    where = refusal_filter(filter)
    page = read_page(info, first, after, last, before, read_refusal_cursor)
    reader = info.context.store.refusals
    found = await reader.page(where, page, newest_first=order_by is not HistoryOrder.REVISION_ASC)
    if not found.items:
        # What names a namespace that does not exist is refused, and found here.
        await require_namespaces(info, where.namespace)
    return Connection(found, _cursor_of)


def _cursor_of(refusal: Refusal) -> str:
    return refusal_cursor(refusal.id)
