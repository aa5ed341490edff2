"""What changed: history row by row, and the net difference between two revisions or times.

Differences as the API shows them; the record is `persistence.records.ShardDiff`.

Which difference is asked for: its ends by revision or by time, and the same ones on every page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated

import strawberry

import graph.schema.enums  # noqa: F401 - registers the enums these types name
from graph.execution.context import Info
from graph.schema.arguments import change_id, check_filter, check_identifiers, invalid
from graph.schema.changes import Change
from graph.schema.namespaces import require_namespaces
from graph.schema.pagination import (
    After,
    Before,
    Connection,
    First,
    Last,
    OrderBy,
    Paged,
    Placed,
    StampedConnection,
    StampedPaged,
    read_page,
)
from graph.schema.scalars import Revision
from graph.schema.shards import Shard
from persistence.codec.cursors import DiffScope, diff_cursor, history_cursor, read_diff_cursor, read_history_cursor
from persistence.model import queries, records
from persistence.model.queries import HistoryOrder
from persistence.model.records import DiffKind, MoveReason, ShardKey
from persistence.model.stream import StreamHead
from persistence.ports import HistoryReader


@strawberry.input(description="Which rows of history. All fields must match.")
class ShardHistoryFilter:
    namespace: str | None = strawberry.field(default=None, description="Of shards of this namespace.")
    shard_id: str | None = strawberry.field(default=None, description="Of this shard; needs `namespace`.")
    owner_node_id: str | None = strawberry.field(
        default=None, description="Of shards this node owned, before or after the change."
    )
    kinds: list[DiffKind] | None = strawberry.field(
        default=None, description="Of one of these kinds. Null or an empty list does not restrict."
    )
    actor: str | None = strawberry.field(default=None, description="Made by this actor.")
    change_ticket: str | None = strawberry.field(default=None, description="Made under this ticket.")
    change_id: strawberry.ID | None = strawberry.field(default=None, description="Made by this change.")
    move_reasons: list[MoveReason] | None = strawberry.field(
        default=None,
        description="Made by a rebalance, for one of these reasons. Null or an empty list does not restrict.",
    )
    since: datetime | None = strawberry.field(default=None, description="Committed at this moment or later.")
    until: datetime | None = strawberry.field(default=None, description="Committed before this moment.")


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
) -> Connection[records.ShardDiff]:
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
) -> StampedConnection[records.ShardDiff]:
    check_identifiers(namespace=namespace)
    asked = RequestedDiff(namespace, start, start_time, end, end_time)
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


def _history_cursor_of(diff: records.ShardDiff) -> str:
    return history_cursor(diff.revision)


@strawberry.type(
    description="One shard before and after: one row of history, or the net difference between two revisions."
)
class ShardDiff:
    revision: Revision = strawberry.field(description="The revision that made it; of a net difference, the last one.")
    kind: DiffKind = strawberry.field(description="What happened to the shard.")
    namespace: str = strawberry.field(description="The namespace of the shard.")
    shard_id: str = strawberry.field(description="The shard's id.")
    version: Revision = strawberry.field(description="The shard's version after; a deletion counts too.")
    changed_fields: list[str] = strawberry.field(
        description="The fields that differ, named as in `Shard`. Empty for a creation and a deletion."
    )
    previous: Shard | None = strawberry.field(description="The shard before; null if it was not there.")
    current: Shard | None = strawberry.field(description="The shard after; null if it is gone.")
    change: Change = strawberry.field(description="The change that did it; of a net difference, the last one.")
    move_reason: MoveReason | None = strawberry.field(description="Why a rebalance moved it; null where none did.")


@dataclass(frozen=True, slots=True)
class RequestedDiff:
    """One end is a revision or a time; the end it leads to may be neither, which is the newest revision."""

    namespace: str | None
    start: int | None
    start_time: datetime | None
    end: int | None
    end_time: datetime | None

    def check(self) -> None:
        """Raises InvalidArgument naming the argument that is missing or too many."""
        if self.start is None and self.start_time is None:
            raise invalid("from", "is needed: the revision to compare, or fromTime instead")
        if self.start is not None and self.start_time is not None:
            raise invalid("fromTime", "cannot be given together with from")
        if self.end is not None and self.end_time is not None:
            raise invalid("toTime", "cannot be given together with to")

    async def scope(self, cursors: Mapping[str, DiffScope], history: HistoryReader, head: StreamHead) -> DiffScope:
        """The revisions it is between: those of the page the cursors come from, else as of now.

        Raises InvalidArgument naming the argument with a cursor of another difference.
        """
        for field, scope in cursors.items():
            if not self._is(scope) or scope != next(iter(cursors.values())):
                raise invalid(field, "this cursor comes from another difference: give the same namespace, from and to")
        for scope in cursors.values():
            return scope
        start, end = self.start, self.end
        if start is None and self.start_time is not None:
            start = min(await history.revision_at(self.start_time), head.revision)
        if end is None and self.end_time is not None:
            end = min(await history.revision_at(self.end_time), head.revision)
        return DiffScope(
            self.namespace,
            head.revision if start is None else start,
            head.revision if end is None else end,
            self.start_time,
            self.end_time,
        )

    def _is(self, scope: DiffScope) -> bool:
        return (
            (scope.namespace, scope.start_time, scope.end_time) == (self.namespace, self.start_time, self.end_time)
            and self.start in (None, scope.start)
            and self.end in (None, scope.end)
        )


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


def history_filter(given: ShardHistoryFilter | None) -> queries.ShardHistoryFilter:
    """Raises InvalidArgument naming `filter.` and the field."""
    if given is None:
        return queries.ShardHistoryFilter()
    where = queries.ShardHistoryFilter(
        namespace=given.namespace,
        shard_id=given.shard_id,
        owner_node_id=given.owner_node_id,
        kinds=given.kinds or None,
        actor=given.actor,
        change_ticket=given.change_ticket,
        change_id=None if given.change_id is None else change_id("filter.changeId", given.change_id),
        move_reasons=given.move_reasons or None,
        since=given.since,
        until=given.until,
    )
    check_filter(where)
    return where
