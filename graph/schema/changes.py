"""The audit log: committed changes and refused ones, each with its type, its connection, its filter and its lists."""

import re
from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import Annotated

import strawberry

from graph.execution.context import Context, Info
from graph.execution.records import kept_by, repeated
from graph.schema.arguments import invalid
from graph.schema.broken_rules import BrokenRule, broken_rules
from graph.schema.pagination import (
    After,
    Before,
    Connection,
    First,
    Last,
    OrderBy,
    Paged,
    Placed,
    connection,
    read_page,
)
from graph.schema.scalars import JSON, Revision
from persistence.codec import cursors
from persistence.model import queries, records
from persistence.model.fields import quoted
from persistence.model.paging import PageRequest
from persistence.model.plans import RebalancePlan
from persistence.model.queries import HistoryOrder
from persistence.model.records import COUNTER_PATTERN, MAX_COUNTER, ChangeKind


@strawberry.type(description="A namespace's or a node's configuration before and after a change.")
class ConfigurationChange:
    namespace: str | None = strawberry.field(description="The namespace; null if it is a node's configuration.")
    node_id: str | None = strawberry.field(description="The node; null if it is a namespace's configuration.")
    previous: JSON | None = strawberry.field(
        description=(
            "Before, with its version: a namespace's strategy, parameters and policy, a node's place, labels, weight "
            "and status. Null if it was new."
        )
    )
    current: JSON = strawberry.field(description="The same after.")


@strawberry.type(description="A plan in a change of it: what made it, decided on it, or applied it.")
class ChangeRebalance:
    plan_id: strawberry.ID = strawberry.field(description="The plan.")
    moved: int = strawberry.field(
        description="How many shards the plan moves, in the change that made it; else how many this change moved."
    )
    shard_count: int = strawberry.field(description="How many shards there were in its namespaces.")
    diff_percent: float = strawberry.field(description="`moved` as a percentage of `shardCount`.")
    supersedes: list[strawberry.ID] = strawberry.field(description="The older plans that gave way to it.")


@strawberry.type(description="What a compaction left of history.")
class ChangeCompaction:
    floor: Revision = strawberry.field(description="The oldest position that could be served since.")
    previous_floor: Revision = strawberry.field(description="The oldest one before.")
    removed_rows: Revision = strawberry.field(description="How many rows of history it took away.")
    kept_rows: Revision = strawberry.field(
        description="How many rows up to the floor it kept: the newest of each shard."
    )
    kept_digest: str = strawberry.field(description="SHA-256 (hex) over the rows it kept.")


def _holder(context: Context) -> Callable[[records.Change], bool]:
    return context.services.store.changes.holds


@kept_by(_holder, in_events=False)
@repeated
@strawberry.type(description="One committed transaction: who changed what, why, and under which ticket.")
class Change:
    id: strawberry.ID = strawberry.field(description="Counts the changes of the store, without gaps, in commit order.")
    kind: ChangeKind = strawberry.field(description="What it was for.")
    actor: str = strawberry.field(description="Who made it.")
    reason: str = strawberry.field(description="Why, in the words of who made it.")
    change_ticket: str | None = strawberry.field(description="The ticket it was made under.")
    forced: str | None = strawberry.field(
        description="Why it was made although rules of a policy may have refused it; null if it was not forced."
    )
    metadata: JSON | None = strawberry.field(description="What the caller attached to it.")
    namespaces: list[str] = strawberry.field(description="The namespaces it touched, in order.")
    first_revision: Revision | None = strawberry.field(
        description="The revision of its first shard change; null if it touched no shard."
    )
    last_revision: Revision | None = strawberry.field(
        description="The revision of its last shard change; null if it touched no shard."
    )
    shard_count: int = strawberry.field(description="How many shards it touched.")
    committed_at: datetime = strawberry.field(description="When it was committed.")
    hash: str = strawberry.field(
        description="SHA-256 (hex) over this change and the hash of the one before: the audit chain."
    )
    configuration: ConfigurationChange | None = strawberry.field(
        description="The configuration it changed; null for changes of shards, and for plans."
    )
    rebalance: ChangeRebalance | None = strawberry.field(
        description="The plan it was about; null for changes that are about none."
    )
    compaction: ChangeCompaction | None = strawberry.field(
        description="What it left of history; null for every change but a compaction."
    )


@strawberry.type(description="A change and its place in the list.")
class ChangeEdge(Placed):
    node: Change = strawberry.field(description="The change.")


@strawberry.type(description="A page of changes, ordered by id.")
class ChangeConnection(Paged):
    edges: list[ChangeEdge] = strawberry.field(description="The changes with their cursors.")
    nodes: list[Change] = strawberry.field(description="The changes alone.")


@strawberry.input(description="Which changes. All fields must match.")
class ChangeFilter:
    namespace: str | None = strawberry.field(default=None, description="That touched this namespace.")
    actor: str | None = strawberry.field(default=None, description="Made by this actor.")
    change_ticket: str | None = strawberry.field(default=None, description="Made under this ticket.")
    kinds: list[ChangeKind] | None = strawberry.field(
        default=None, description="Of one of these kinds. Null or an empty list does not restrict."
    )
    plan_id: strawberry.ID | None = strawberry.field(
        default=None, description="About this plan: what it was proposed, approved, applied, stopped or rejected by."
    )
    node_id: str | None = strawberry.field(
        default=None, description="By which this node was registered, changed or drained."
    )
    forced: bool | None = strawberry.field(
        default=None, description="Made although rules of a policy may have refused it; or, if false, not."
    )
    search: str | None = strawberry.field(
        default=None,
        description=(
            "With this in the reason, the actor, the ticket, or why it was forced; letters from A to Z of either case. "
            "1 to 128 characters."
        ),
    )
    since: datetime | None = strawberry.field(default=None, description="Committed at this time or later.")
    until: datetime | None = strawberry.field(default=None, description="Committed before this time.")

    def query(self) -> queries.ChangeFilter:
        """Raises InvalidArgument naming `filter.` and the field."""
        return queries.ChangeFilter(
            namespace=self.namespace,
            actor=self.actor,
            change_ticket=self.change_ticket,
            kinds=self.kinds or None,
            plan_id=self.plan_id,
            node_id=self.node_id,
            forced=self.forced,
            search=self.search,
            since=self.since,
            until=self.until,
        ).checked()


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
) -> Connection[records.Change]:
    where = filter.query() if filter else queries.ChangeFilter()
    page = read_page(info, cursors.CHANGES, first, after, last, before)
    newest_first = order_by is not HistoryOrder.REVISION_ASC
    found = await info.context.services.store.changes.page(where, page, newest_first=newest_first, shown=True)
    return await connection(info, found, cursors.CHANGES, attrgetter("id"), where.namespace)


async def change(
    info: Info,
    id: Annotated[strawberry.ID, strawberry.argument(description="Its id: a whole number.")],  # noqa: A002 - by schema
) -> records.Change | None:
    if not re.fullmatch(COUNTER_PATTERN, id) or int(id) > MAX_COUNTER:
        raise invalid("id", f"must be a whole number from 1 to {MAX_COUNTER}, not {quoted(id)}")
    upwards = queries.ChangeFilter(up_to_id=int(id))
    found = await info.context.services.store.changes.page(upwards, PageRequest(1), newest_first=True, shown=True)
    return next((newest for newest in found.items if newest.id == int(id)), None)


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
) -> Connection[records.Change]:
    # The plan was read as of one change, and so are the changes that led there.
    newest = parent.latest.id if parent.newest_change is None else parent.newest_change
    where = queries.ChangeFilter(kinds=kinds or None, plan_id=parent.id, up_to_id=newest)
    page = read_page(info, cursors.CHANGES, first, after, last, before)
    found = await info.context.services.store.changes.page(where, page, newest_first=True, shown=True)
    return await connection(info, found, cursors.CHANGES, attrgetter("id"))


@strawberry.type(description="A change that was requested and refused: by whom, and why it was not made.")
class RefusedChange:
    id: strawberry.ID = strawberry.field(description="Counts the refusals of the store, without gaps, in order.")
    kind: ChangeKind = strawberry.field(description="What it would have been.")
    actor: str = strawberry.field(description="Who requested it.")
    reason: str = strawberry.field(description="Why, in the words of the actor.")
    change_ticket: str | None = strawberry.field(description="The ticket it was requested under.")
    namespaces: list[str] = strawberry.field(description="The namespaces it named, in order.")
    outcome: str = strawberry.field(
        description=(
            "The answer: the name of a result, as `VersionConflict`, `NotFound` or `PolicyViolation`; `Forbidden` to "
            "an actor who may not force it."
        )
    )
    request: JSON = strawberry.field(
        description="What was requested, of each list the first ten items; how many characters there were, if too many."
    )
    details: JSON = strawberry.field(description="What was answered, bounded in the same way.")
    broken_rules = strawberry.field(
        resolver=broken_rules,
        graphql_type=list[BrokenRule],
        description="The rules of a policy that it was refused for, the first ten; none if it was for something else.",
    )
    left_out: Revision = strawberry.field(
        description="How many refusals before this one were not kept, because the same server met too many at once."
    )
    refused_at: datetime = strawberry.field(description="When it was refused.")
    hash: str = strawberry.field(description="SHA-256 (hex) over this refusal and the hash of the one before.")


@strawberry.type(description="A refused change and its place in the list.")
class RefusedChangeEdge(Placed):
    node: RefusedChange = strawberry.field(description="The refused change.")


@strawberry.type(description="A page of refused changes, ordered by id.")
class RefusedChangeConnection(Paged):
    edges: list[RefusedChangeEdge] = strawberry.field(description="The refused changes with their cursors.")
    nodes: list[RefusedChange] = strawberry.field(description="The refused changes alone.")


@strawberry.input(description="Which refusals. All fields must match.")
class RefusalFilter:
    namespace: str | None = strawberry.field(default=None, description="Of requests that named this namespace.")
    actor: str | None = strawberry.field(default=None, description="Of requests by this actor.")
    change_ticket: str | None = strawberry.field(default=None, description="Of requests under this ticket.")
    since: datetime | None = strawberry.field(default=None, description="Refused at this time or later.")
    until: datetime | None = strawberry.field(default=None, description="Refused before this time.")

    def query(self) -> queries.RefusalFilter:
        """Raises InvalidArgument naming `filter.` and the field."""
        return queries.RefusalFilter(
            namespace=self.namespace,
            actor=self.actor,
            change_ticket=self.change_ticket,
            since=self.since,
            until=self.until,
        ).checked()


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
) -> Connection[records.Refusal]:
    where = filter.query() if filter else queries.RefusalFilter()
    page = read_page(info, cursors.REFUSALS, first, after, last, before)
    newest_first = order_by is not HistoryOrder.REVISION_ASC
    found = await info.context.services.store.refusals.page(where, page, newest_first=newest_first)
    # Requests that name a namespace that does not exist are refused, and found without it being looked for.
    return await connection(info, found, cursors.REFUSALS, attrgetter("id"), where.namespace)
