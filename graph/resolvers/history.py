"""What changed: history row by row, and the net difference between two revisions."""

from functools import partial
from typing import Annotated

import strawberry

from graph.connections import Connection, StampedConnection
from graph.context import Info
from graph.cursors import DiffScope, diff_cursor, history_cursor, read_diff_cursor, read_history_cursor
from graph.inputs.reading import ShardHistoryFilter, history_filter
from graph.resolvers.arguments import After, Before, First, Last, OrderBy, check_identifiers, invalid, read_page
from graph.scalars import Revision
from persistence.errors import Compacted, FutureCursor
from persistence.ports import StreamHead
from persistence.queries import HistoryOrder
from persistence.records import ShardDiff, ShardKey, StreamPosition


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
    page = read_page(first, after, last, before, read_history_cursor)
    reader = info.context.store.history
    found = await reader.page(where, order_by or HistoryOrder.REVISION_DESC, page)
    return Connection(found, _history_cursor_of, partial(reader.count, where))


async def shard_diff(
    info: Info,
    *,
    namespace: Annotated[
        str | None, strawberry.argument(description="Only shards of this namespace; all by default.")
    ] = None,
    start: Annotated[Revision, strawberry.argument(name="from", description="The revision to compare.")],
    end: Annotated[
        Revision | None,
        strawberry.argument(
            name="to",
            description=(
                "The revision to compare it with; by default the newest at the first page, which stays the same on "
                "the pages after. If it is lower than `from`, the difference reads backwards."
            ),
        ),
    ] = None,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> StampedConnection[ShardDiff]:
    check_identifiers(namespace=namespace)
    scopes: dict[str, DiffScope] = {}
    page = read_page(first, after, last, before, partial(_read_place, scopes))
    head = await info.context.store.stream.head()
    scope = _scope(namespace, start, end, scopes, head)
    reader = info.context.store.history
    found = await reader.difference(scope.namespace, scope.start, scope.end, page)
    return StampedConnection(
        found,
        lambda diff: diff_cursor(scope, diff.key),
        partial(reader.count_difference, scope.namespace, scope.start, scope.end),
        StreamPosition(head.epoch, scope.end),
    )


def _read_place(scopes: dict[str, DiffScope], cursor: str, field: str) -> ShardKey:
    scopes[field], key = read_diff_cursor(cursor, field)
    return key


def _scope(
    namespace: str | None, start: int, end: int | None, scopes: dict[str, DiffScope], head: StreamHead
) -> DiffScope:
    """The difference asked for, which must be the one its cursors come from, between revisions that can be read."""
    if end is None:
        end = next((scope.end for scope in scopes.values()), head.revision)
    wanted = DiffScope(namespace, start, end)
    for field, scope in scopes.items():
        if scope != wanted:
            raise invalid(field, "this cursor comes from another difference: give the same namespace, from and to")
    if max(start, end) > head.revision:
        raise FutureCursor(max(start, end), head.revision)
    if min(start, end) < head.floor:
        raise Compacted(min(start, end), head.floor)
    return wanted


def _history_cursor_of(diff: ShardDiff) -> str:
    return history_cursor(diff.revision)
