"""What changed: history row by row, and the net difference between two revisions or times."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Final, TypeAlias

import strawberry

from graph.execution.context import Context, Info
from graph.execution.records import kept_by
from graph.schema.arguments import change_id, invalid
from graph.schema.changes import Change
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
    connection,
    read_page,
    stamped_connection,
)
from graph.schema.scalars import Revision
from graph.schema.selected import OfSelection
from graph.schema.shards import Shard
from persistence.codec import cursors
from persistence.codec.cursors import DiffScope
from persistence.model import queries, records
from persistence.model.fields import check_identifiers
from persistence.model.paging import PageRequest
from persistence.model.queries import DiffDetail, HistoryOrder
from persistence.model.records import DiffKind, MoveReason, ShardKey
from persistence.ports.readers import HistoryReader
from persistence.ports.store import Store


def _holder(context: Context) -> Callable[[records.ShardDiff], bool]:
    return context.services.store.history.holds


@kept_by(_holder, in_events=False)
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
    move_reason: MoveReason | None = strawberry.field(
        description="Why a rebalance moved it, or had another node lead it; null where none did."
    )


@kept_by(_holder)
@strawberry.type(description="A row of history and its place in the list.")
class ShardHistoryEdge(Placed):
    node: ShardDiff = strawberry.field(description="The row.")


@strawberry.type(description="A page of history, ordered by revision.")
class ShardHistoryConnection(Paged):
    edges: list[ShardHistoryEdge] = strawberry.field(description="The rows with their cursors.")
    nodes: list[ShardDiff] = strawberry.field(description="The rows alone.")


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
    owner_changed: bool | None = strawberry.field(
        default=None,
        description="By which the shard came from one owner to another; or, if false, by which it did not.",
    )
    since: datetime | None = strawberry.field(default=None, description="Committed at this time or later.")
    until: datetime | None = strawberry.field(default=None, description="Committed before this time.")

    def query(self) -> queries.ShardHistoryFilter:
        """Raises InvalidArgument naming `filter.` and the field."""
        return queries.ShardHistoryFilter(
            namespace=self.namespace,
            shard_id=self.shard_id,
            owner_node_id=self.owner_node_id,
            kinds=self.kinds or None,
            actor=self.actor,
            change_ticket=self.change_ticket,
            change_id=None if self.change_id is None else change_id("filter.changeId", self.change_id),
            move_reasons=self.move_reasons or None,
            owner_changed=self.owner_changed,
            since=self.since,
            until=self.until,
        ).checked()


_IMAGES: Final = ("previous.", "current.")

_ATTRIBUTED: Final = ("lastChange", "ownerChange", "ownerSince")
"""What is looked for by the revision of the shard."""

_TIMES: Final = {f"{image}{name}" for image in _IMAGES for name in ("revision", "createdAt", "updatedAt", *_ATTRIBUTED)}

_OF_OWNERS: Final = {"namespace", "shardId", "ownerNodeId", "__typename"}
"""Of the shard before and after: what history has in columns of its own."""

_WHOLE_CHANGE: Final = {
    f"change.{name}" for name in ("metadata", "namespaces", "firstRevision", "lastRevision", "shardCount", "hash")
}


def _detail(paths: frozenset[str]) -> DiffDetail:
    """What of each row a selection of the connection needs."""
    shown = {path.removeprefix("nodes.").removeprefix("edges.node.") for path in paths}
    of_images = {path.partition(".")[2] for path in shown if path.startswith(_IMAGES)}
    return DiffDetail(
        images=not of_images <= _OF_OWNERS,
        image_times=not _TIMES.isdisjoint(shown),
        whole_change=not _WHOLE_CHANGE.isdisjoint(shown),
        owners=bool(of_images) and of_images <= _OF_OWNERS,
    )


_SHOWN: Final = OfSelection(_detail)


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
    where = filter.query() if filter else queries.ShardHistoryFilter()
    page = read_page(info, cursors.HISTORY, first, after, last, before)
    order = order_by or HistoryOrder.REVISION_DESC
    found = await info.context.services.store.history.page(where, order, page, _SHOWN(info))
    return await connection(info, found, cursors.HISTORY, attrgetter("revision"), where.namespace)


@strawberry.type(description="A difference and its place in the list.")
class ShardDiffEdge(Placed):
    node: ShardDiff = strawberry.field(description="The difference.")


@strawberry.type(description="A page of the net difference between two revisions, ordered by namespace and shard id.")
class ShardDiffConnection(StampedPaged):
    edges: list[ShardDiffEdge] = strawberry.field(description="The differences with their cursors.")
    nodes: list[ShardDiff] = strawberry.field(description="The differences alone.")


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
    requested = _RequestedDiff(namespace, start, start_time, end, end_time)
    requested.check()
    page = read_page(info, cursors.DIFF, first, after, last, before)
    scope = await requested.scope(page, info.context.services.store)
    after_key, before_key = (position and position[1] for position in (page.after, page.before))
    keys = PageRequest(page.limit, after_key, before_key, backward=page.backward, counted=page.counted)
    found = await info.context.services.store.history.difference(scope.namespace, scope.start, scope.end, keys)
    return await stamped_connection(info, found, cursors.DIFF, lambda diff: (scope, diff.key), namespace)


_ScopedKey: TypeAlias = tuple[DiffScope, ShardKey]


@dataclass(frozen=True, slots=True)
class _RequestedDiff:
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

    async def scope(self, page: PageRequest[_ScopedKey], store: Store) -> DiffScope:
        """The revisions it is between: those of the page the cursors come from, else as of now.

        Raises InvalidArgument naming the argument with a cursor of another difference.
        """
        scopes = {field: end[0] for field, end in (("after", page.after), ("before", page.before)) if end}
        for field, scope in scopes.items():
            if not self._is(scope) or scope != next(iter(scopes.values())):
                raise invalid(field, "this cursor comes from another difference: give the same namespace, from and to")
        for scope in scopes.values():
            return scope
        start, end = self.start, self.end
        if start is None or end is None:
            newest = (await store.stream.head()).revision
            start = await self._newest(store.history, newest, start, self.start_time)
            end = await self._newest(store.history, newest, end, self.end_time)
        return DiffScope(self.namespace, start, end, self.start_time, self.end_time)

    @staticmethod
    async def _newest(history: HistoryReader, newest: int, revision: int | None, time: datetime | None) -> int:
        """The revision, or the newest there was at the time, or is."""
        if revision is not None:
            return revision
        return newest if time is None else min(await history.revision_at(time), newest)

    def _is(self, scope: DiffScope) -> bool:
        return (
            (scope.namespace, scope.start_time, scope.end_time) == (self.namespace, self.start_time, self.end_time)
            and self.start in (None, scope.start)
            and self.end in (None, scope.end)
        )
