"""What changed: history row by row, and the net difference between two revisions or times."""

from datetime import datetime
from functools import partial
from typing import Annotated

import strawberry

from graph.connections import Connection, StampedConnection
from graph.context import Info
from graph.cursors import DiffScope, diff_cursor, history_cursor, read_diff_cursor, read_history_cursor
from graph.inputs.reading import ShardHistoryFilter, history_filter
from graph.resolvers.arguments import After, Before, First, Last, OrderBy, check_identifiers, read_page
from graph.resolvers.diff_scopes import AskedDiff
from graph.resolvers.namespaces import require_namespaces
from graph.scalars import Revision
from persistence.queries import HistoryOrder
from persistence.records import ShardDiff, ShardKey


async def shard_history(
    info: Info,
    filter: Annotated[  # noqa: A002 - the argument's name in the schema
        ShardHistoryFilter | None, strawberry.argument(description="Which rows; all of them by default.")
    ] = None,
    order_by: OrderBy = HistoryOrder.REVISION_DESC,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Connection[ShardDiff]:
    where = history_filter(filter)
    page = read_page(info, first, after, last, before, read_history_cursor)
    reader = info.context.store.history
    found = await reader.page(where, order_by or HistoryOrder.REVISION_DESC, page)
    if not found.items:
        await require_namespaces(info, where.namespace)
    return Connection(found, _history_cursor_of)


async def shard_diff(
    info: Info,
    *,
    namespace: Annotated[
        str | None, strawberry.argument(description="Only shards of this namespace; all by default.")
    ] = None,
    start: Annotated[
        Revision | None, strawberry.argument(name="from", description="The revision to compare, or `fromTime`.")
    ] = None,
    end: Annotated[
        Revision | None,
        strawberry.argument(
            name="to",
            description=(
                "The revision to compare it with, or `toTime`; by default the newest at the first page, which stays "
                "the same on the pages after. If it is lower than `from`, the difference reads backwards."
            ),
        ),
    ] = None,
    start_time: Annotated[
        datetime | None,
        strawberry.argument(name="fromTime", description="Instead of `from`: the newest revision there was then."),
    ] = None,
    end_time: Annotated[
        datetime | None,
        strawberry.argument(
            name="toTime",
            description="Instead of `to`: the newest revision there was then; now, if it lies in the future.",
        ),
    ] = None,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> StampedConnection[ShardDiff]:
    check_identifiers(namespace=namespace)
    asked = AskedDiff(namespace, start, start_time, end, end_time)
    asked.check()
    scopes: dict[str, DiffScope] = {}
    page = read_page(info, first, after, last, before, partial(_read_place, scopes))
    head = await info.context.store.stream.head()
    scope = await asked.scope(scopes, info.context.store.history, head)
    reader = info.context.store.history
    found = await reader.difference(scope.namespace, scope.start, scope.end, page)
    if not found.value.items:
        await require_namespaces(info, namespace)
    return StampedConnection(found.value, lambda diff: diff_cursor(scope, diff.key), found.position)


def _read_place(scopes: dict[str, DiffScope], cursor: str, field: str) -> ShardKey:
    scopes[field], key = read_diff_cursor(cursor, field)
    return key


def _history_cursor_of(diff: ShardDiff) -> str:
    return history_cursor(diff.revision)
