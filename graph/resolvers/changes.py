"""The log of committed changes."""

from typing import Annotated

import strawberry

from graph.connections import Connection
from graph.context import Info
from graph.cursors import change_cursor, read_change_cursor
from graph.inputs.reading import ChangeFilter, change_filter
from graph.resolvers.arguments import After, Before, First, Last, OrderBy, read_page
from graph.resolvers.namespaces import require_namespaces
from persistence import queries
from persistence.queries import HistoryOrder
from persistence.records import Change, ChangeKind, RebalancePlan


async def changes(
    info: Info,
    filter: Annotated[  # noqa: A002 - the argument's name in the schema
        ChangeFilter | None, strawberry.argument(description="Which changes; all of them by default.")
    ] = None,
    order_by: OrderBy = HistoryOrder.REVISION_DESC,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Connection[Change]:
    where = change_filter(filter)
    page = read_page(info, first, after, last, before, read_change_cursor)
    reader = info.context.store.changes
    found = await reader.page(where, page, newest_first=order_by is not HistoryOrder.REVISION_ASC)
    if not found.items:
        await require_namespaces(info, where.namespace)
    return Connection(found, _cursor_of)


async def changes_of_plan(
    parent: strawberry.Parent[RebalancePlan],
    info: Info,
    kinds: Annotated[
        list[ChangeKind] | None, strawberry.argument(description="Only of these kinds; all of them by default.")
    ] = None,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Connection[Change]:
    # What the plan shows of itself is of one moment, and so is what led there.
    newest = parent.latest.id if parent.newest_change is None else parent.newest_change
    where = queries.ChangeFilter(kinds=kinds or None, plan_id=parent.id, up_to_id=newest)
    page = read_page(info, first, after, last, before, read_change_cursor)
    reader = info.context.store.changes
    return Connection(await reader.page(where, page, newest_first=True), _cursor_of)


def _cursor_of(change: Change) -> str:
    return change_cursor(change.id)
