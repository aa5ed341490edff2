"""Shards: the type, its connection and filter; one, several by their keys, and lists, now and as of the past."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any, Final, TypeAlias, cast

import strawberry

from graph.execution.bulk_inputs import made_as
from graph.execution.context import Context, Info
from graph.execution.cost import ATTRIBUTION, costs
from graph.execution.records import kept_by
from graph.execution.selections import TOGETHER
from graph.execution.services import Services
from graph.schema.arguments import AsOfArgument, NamespaceName, invalid
from graph.schema.changes import Change
from graph.schema.pagination import (
    After,
    Before,
    First,
    Last,
    Placed,
    StampedConnection,
    StampedPaged,
    read_page,
    selects,
    stamped_connection,
)
from graph.schema.scalars import Revision
from persistence.codec import cursors
from persistence.codec.cursors import Cursor
from persistence.model import queries, records
from persistence.model.fields import Problems, check_identifiers, identifier_problem, name_problem
from persistence.model.paging import MAX_PAGE
from persistence.model.queries import EVERY_SHARD
from persistence.model.records import ShardStatus
from persistence.ports.readers import OWNER_SEARCHED


@strawberry.type(description="A decision that a shard stays where it is; rebalances leave it alone.")
class Pin:
    by: str = strawberry.field(description="Who pinned it.")
    reason: str = strawberry.field(description="Why.")
    until: datetime | None = strawberry.field(description="When the pin ends; null for no end.")


def _holder(context: Context) -> Callable[[records.Shard], bool]:
    return context.services.store.shards.holder()


ATTRIBUTED: Final = {**costs(ATTRIBUTION), TOGETHER: True}


async def last_change(parent: strawberry.Parent[records.Shard], info: Info) -> records.Change | None:
    return await info.context.services.attribution.last_change(parent)


async def owner_change(parent: strawberry.Parent[records.Shard], info: Info) -> records.Change | None:
    return await info.context.services.attribution.owner_change(parent)


async def owner_since(parent: strawberry.Parent[records.Shard], info: Info) -> datetime | None:
    if parent.owner_epoch == 1:
        return parent.created_at
    change = await info.context.services.attribution.owner_change(parent)
    return None if change is None else change.committed_at


async def _attributed(info: Info, found: Sequence[records.Shard | None]) -> Sequence[Any]:
    """The shards, with the changes of theirs that are selected."""
    last = selects(info, "lastChange")
    owner = selects(info, "ownerChange") or selects(info, "ownerSince")
    return await info.context.services.attribution.shards(found, last=last, owner=owner) if last or owner else found


@kept_by(_holder)
@strawberry.type(
    description="One shard as of `revision`: which node owns it, and everything a mesh node needs to act on that."
)
class Shard:
    namespace: str = strawberry.field(description="The namespace it belongs to.")
    shard_id: str = strawberry.field(description="Its id, unique within the namespace. At most 128 characters.")
    strategy: str = strawberry.field(description="The placement strategy that was in force when its owner was set.")
    owner_node_id: str = strawberry.field(description="The mesh node that owns it.")
    leader_id: str | None = strawberry.field(description="The replica that leads it, where there is one.")
    capacity_hint: float = strawberry.field(
        description="How much of a node it takes, relative to other shards. Finite, 0 or more; 1 by default."
    )
    locality_hint: str | None = strawberry.field(
        description="Where it would rather be: `region`, `region/zone`, `zone:x` or `region:x`."
    )
    status: ShardStatus = strawberry.field(description="What the owner may do with it.")
    pinned: Pin | None = strawberry.field(description="The decision that it stays where it is, if there is one.")
    anti_affinity_group: str | None = strawberry.field(
        description="Shards of one group of a namespace are on different nodes; null if it is in none."
    )
    change_ticket: str | None = strawberry.field(description="The ticket of its last change.")
    version: Revision = strawberry.field(
        description=(
            "Counts the changes of this shard, from 1, never reused, not even after deletion. "
            "Hand it back as `expectedVersion` to change the shard you have seen and no other."
        )
    )
    owner_epoch: Revision = strawberry.field(
        description="Counts its changes of owner, from 1. A fencing token: refuse requests with a lower one."
    )
    checksum: str = strawberry.field(
        description=(
            "32 hex digits over identity and content, not over version, revision or times: "
            "equal content, equal checksum."
        )
    )
    revision: Revision = strawberry.field(description="The revision of its last change.")
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When it last changed.")
    last_change = strawberry.field(
        resolver=last_change,
        graphql_type=Change | None,
        description="The change that made this version of it; null if history does not reach back to it any more.",
        metadata=ATTRIBUTED,
    )
    owner_change = strawberry.field(
        resolver=owner_change,
        graphql_type=Change | None,
        description=(
            "The change by which it came to its owner; null if history does not reach back to it any more, or if it "
            f"was changed {OWNER_SEARCHED} times since."
        ),
        metadata=ATTRIBUTED,
    )
    owner_since = strawberry.field(
        resolver=owner_since,
        description="Since when it has its owner; null where `ownerChange` is, unless it never had another owner.",
        metadata=ATTRIBUTED,
    )


@strawberry.type(description="The identity of a shard.")
class ShardKey:
    namespace: str = strawberry.field(description="The namespace.")
    shard_id: str = strawberry.field(description="The shard's id within it.")


@made_as(records.ShardKey)
@strawberry.input(description="The identity of a shard.")
class ShardKeyInput:
    namespace: str = strawberry.field(description="The namespace.")
    shard_id: str = strawberry.field(description="The shard's id within it.")


@strawberry.type(description="Shards by their keys, all at one revision.")
class ShardsByKey:
    shards: list[Shard | None] = strawberry.field(description="In the order of the keys; null where there is none.")
    cursor: Cursor = strawberry.field(
        description="The place in the change stream this is exact at: follow with `shardDiffs(after:)`, miss nothing."
    )
    revision: Revision = strawberry.field(description="The revision this is exact at.")


@kept_by(_holder)
@strawberry.type(description="A shard and its place in the list.")
class ShardEdge(Placed):
    node: Shard = strawberry.field(description="The shard.")


@strawberry.type(description="A page of shards, ordered by namespace and shard id.")
class ShardConnection(StampedPaged):
    edges: list[ShardEdge] = strawberry.field(description="The shards with their cursors.")
    nodes: list[Shard] = strawberry.field(description="The shards alone.")


_NO_RESTRICTION: Final = "Null or an empty list does not restrict. At most 1,000 values."


@strawberry.input(description="Which shards. All fields must match; within a list, any value.")
class ShardFilter:
    namespace: str | None = strawberry.field(default=None, description="Of this namespace.")
    shard_ids: list[str] | None = strawberry.field(
        default=None, description=f"With one of these ids. {_NO_RESTRICTION}"
    )
    owner_node_ids: list[str] | None = strawberry.field(
        default=None, description=f"Owned by one of these nodes. {_NO_RESTRICTION}"
    )
    leader_ids: list[str] | None = strawberry.field(
        default=None, description=f"Led by one of these replicas. {_NO_RESTRICTION}"
    )
    statuses: list[ShardStatus] | None = strawberry.field(
        default=None, description=f"In one of these states. {_NO_RESTRICTION}"
    )
    strategies: list[str] | None = strawberry.field(
        default=None, description=f"Placed by one of these strategies. {_NO_RESTRICTION}"
    )
    change_ticket: str | None = strawberry.field(default=None, description="Whose last change has this ticket.")
    search: str | None = strawberry.field(
        default=None,
        description="Whose id contains this, case and all. 1 to 128 characters.",
    )
    pinned: bool | None = strawberry.field(
        default=None, description="With a pin, whether it has ended or not; or, if false, without one."
    )
    orphaned: bool | None = strawberry.field(
        default=None,
        description=(
            "Whose owner is not registered, or was removed; or, if false, is registered. In lists of the present only: "
            "neither with `asOf` nor in subscriptions."
        ),
    )

    def query(self, *, of_present: bool = False) -> queries.ShardFilter:
        """Of a list of the present, without what `orphaned` restricts. Raises InvalidArgument naming `filter.` and the
        field."""
        if self.orphaned is not None and not of_present:
            raise invalid("filter.orphaned", "can be given in lists of the present only")
        return queries.ShardFilter(
            namespace=self.namespace,
            shard_ids=self.shard_ids or None,
            owner_node_ids=self.owner_node_ids or None,
            leader_ids=self.leader_ids or None,
            statuses=self.statuses or None,
            strategies=self.strategies or None,
            change_ticket=self.change_ticket,
            search=self.search,
            pinned=self.pinned,
        ).checked()

    async def with_owners(self, info: Info, where: queries.ShardFilter) -> queries.ShardFilter:
        """As `where`, of those owners that are registered now, or are not, as `orphaned` has it."""
        store = info.context.services.store
        owners = await store.totals.owners() if where.owner_node_ids is None else where.owner_node_ids
        absent = await store.nodes.absent(owners)
        return replace(where, owner_node_ids=[each for each in owners if (each in absent) is self.orphaned])


AtLeast: TypeAlias = Annotated[
    Revision | None,
    strawberry.argument(
        description=(
            "Answer only once this server has seen this revision: pass the `revision` of your own write to read it. "
            "Fails with STALE_READ if that takes too long, and with FUTURE_REVISION if the store has no such revision. "
            "A revision that was lost in a failover is given to another change: `atLeastCursor` notices."
        )
    ),
]

AtLeastCursor: TypeAlias = Annotated[
    Cursor | None,
    strawberry.argument(
        description=(
            "In place of `atLeast`: answer only once this server has seen everything up to this cursor of the change "
            "stream, that of your own write or of a list. Fails with STALE_READ if that takes too long, and with "
            "EPOCH_MISMATCH if what it stands for was lost in a failover."
        )
    ),
]


async def shard(
    info: Info,
    namespace: NamespaceName,
    shard_id: Annotated[str, strawberry.argument(description="The shard's id within the namespace.")],
    as_of: AsOfArgument = None,
    at_least: AtLeast = None,
    at_least_cursor: AtLeastCursor = None,
) -> records.Shard | None:
    check_identifiers(namespace=namespace, shardId=shard_id)
    key, past = records.ShardKey(namespace, shard_id), as_of.record() if as_of else None
    if at_least is not None or at_least_cursor is not None:
        await _reached(info.context.services, at_least, at_least_cursor, [key])
    return (await info.context.services.store.shards.get(key, past)).value


@dataclass(frozen=True, slots=True)
class FoundByKey:
    """`ShardsByKey`, of records."""

    shards: Sequence[records.Shard | None]
    cursor: Cursor
    revision: int


async def shards_by_key(
    info: Info,
    keys: Annotated[
        list[records.ShardKey],
        strawberry.argument(
            graphql_type=list[ShardKeyInput], description=f"1 to {MAX_PAGE}. One may be there several times."
        ),
    ],
    as_of: AsOfArgument = None,
    at_least: AtLeast = None,
    at_least_cursor: AtLeastCursor = None,
) -> FoundByKey:
    _check_keys(keys)
    if at_least is not None or at_least_cursor is not None:
        await _reached(info.context.services, at_least, at_least_cursor, keys)
    past = as_of.record() if as_of else None
    found = await info.context.services.store.shards.get_many(keys, past)
    return FoundByKey(
        await _attributed(info, found.value), cursors.STREAM.write(found.position), found.position.revision
    )


def _check_keys(keys: Sequence[records.ShardKey]) -> None:
    """Raises InvalidArgument naming each member that is no identifier, such as `keys[3].shardId`."""
    if not 1 <= len(keys) <= MAX_PAGE:
        raise invalid("keys", f"must hold 1 to {MAX_PAGE} keys, not {len(keys):,}")
    problems = Problems()
    for index, key in enumerate(keys):
        problems.add(f"keys[{index}].namespace", name_problem(key.namespace))
        problems.add(f"keys[{index}].shardId", identifier_problem(key.shard_id))
    problems.raise_if_any()


async def shards(
    info: Info,
    filter: Annotated[  # noqa: A002 - the argument's name in the schema
        ShardFilter | None, strawberry.argument(description="Which shards; all of them by default.")
    ] = None,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    as_of: AsOfArgument = None,
    at_least: AtLeast = None,
    at_least_cursor: AtLeastCursor = None,
) -> StampedConnection[records.Shard]:
    past = as_of.record() if as_of else None
    where = filter.query(of_present=past is None) if filter else EVERY_SHARD
    page = read_page(info, cursors.SHARDS, first, after, last, before)
    if at_least is not None or at_least_cursor is not None:
        revision = await _reached(info.context.services, at_least, at_least_cursor)
        if info.context.services.memory is not None:
            await info.context.services.memory.require_list(revision, where.namespace)
    if filter is not None and filter.orphaned is not None:
        where = await filter.with_owners(info, where)
    found = await info.context.services.store.shards.page(where, page, past)
    items = await _attributed(info, found.value.items)
    if items is not found.value.items:
        found = replace(found, value=replace(found.value, items=items))
    return await stamped_connection(info, found, cursors.SHARDS, _KEY, where.namespace)


_KEY: Final = cast("Callable[[records.Shard], records.ShardKey]", attrgetter("namespace", "shard_id"))
"""A tuple of the fields of a ShardKey, without a call in Python for each row."""


async def _reached(
    services: Services, at_least: int | None, at_least_cursor: str | None, keys: Sequence[records.ShardKey] = ()
) -> int:
    """The revision, when the feed has come there; these shards are not read older. Raises InvalidArgument where both
    are given, and what the feed does."""
    if at_least is not None and at_least_cursor is not None:
        raise invalid("atLeastCursor", "cannot be given together with atLeast")
    if at_least_cursor is not None:
        position = cursors.STREAM.read(at_least_cursor, "atLeastCursor")
        await services.feed.wait_for_position(position)
        revision = position.revision
    else:
        revision = at_least or 0
        await services.feed.wait_for(revision)
    if services.memory is not None:
        services.memory.require_shards(revision, keys)
    return revision
