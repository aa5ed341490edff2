"""Namespaces: the type, its policy and its connection, one by name and lists; and the strategies that they can have."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Annotated, Final

import strawberry

from graph.execution.context import Info
from graph.execution.cost import STATEMENT, costs
from graph.schema.arguments import AsOf, invalid
from graph.schema.pagination import (
    After,
    Before,
    Connection,
    First,
    Last,
    Paged,
    Placed,
    connection,
    read_page,
)
from graph.schema.scalars import JSON, Revision
from graph.schema.selected import OfSelection
from graph.schema.window_use import WindowUse, window_use
from persistence.codec import cursors
from persistence.errors import FieldError, InvalidArgument
from persistence.model import policy, records, recurring_freezes
from persistence.model.fields import check_identifiers
from persistence.model.policy import DEFAULT_POLICY
from strategies import model
from strategies.constraints import CONSTRAINTS
from strategies.model import Movement


@strawberry.type
class FreezeFields:
    """What the type and the input of a freeze have in common: all of it."""

    begins: datetime = strawberry.field(description="When it begins.")
    ends: datetime = strawberry.field(description="When it ends: changes are allowed again from this time on.")
    reason: str = strawberry.field(description="Why. Not blank, at most 1,024 characters.")


@strawberry.type(description="A time in which changes of a namespace's shards are refused.")
class FreezeWindow(FreezeFields):
    pass


@strawberry.type
class RecurringFreezeFields:
    """What the type and the input of a recurring freeze have in common: all of it."""

    schedule: str = strawberry.field(
        description="When it begins, in local time: the five fields of cron, such as `0 18 * * fri`. At most 4 times "
        "a day."
    )
    duration: str = strawberry.field(
        description="How long it lasts (ISO 8601), such as `PT8H` or `P2DT14H`: days of the calendar in the time zone, "
        "then hours, minutes and seconds that elapse. At most 31 days."
    )
    time_zone: str = strawberry.field(description="The time zone of the schedule, such as `Europe/Berlin` (IANA).")
    reason: str = strawberry.field(description="Why. Not blank, at most 1,024 characters.")
    until: datetime | None = strawberry.field(
        default=None, description="It does not begin any more from this time on; null for no end."
    )


@strawberry.type(description="A time in which changes of a namespace's shards are refused, again and again.")
class RecurringFreeze(RecurringFreezeFields):
    pass


@strawberry.type
class PolicyFields:
    """What the type and the input of a policy have in common, with the defaults of the input."""

    ticket_required: bool = strawberry.field(
        default=DEFAULT_POLICY.ticket_required, description="Whether changes of shards need a ticket."
    )
    ticket_pattern: str | None = strawberry.field(
        default=DEFAULT_POLICY.ticket_pattern,
        description=(
            "A regular expression (RE2 syntax, at most 256 characters) that must match the whole of every ticket "
            "given; null for any ticket."
        ),
    )
    approval_required: bool = strawberry.field(
        default=DEFAULT_POLICY.approval_required,
        description="Whether a plan is applied only after another person than its submitter approved it.",
    )
    move_budget_percent: float = strawberry.field(
        default=DEFAULT_POLICY.move_budget_percent,
        description=(
            "The share of the namespace's shards that one change may move, more than 0 and at most 100 percent. "
            "Rounded up, and one shard at least. A move gives a shard that is there another owner."
        ),
    )
    window_seconds: int = strawberry.field(
        default=DEFAULT_POLICY.window_seconds,
        description="The length of the windows in which moves are counted: 1 to 2,592,000 seconds.",
    )
    window_moves: int | None = strawberry.field(
        default=DEFAULT_POLICY.window_moves,
        description="How many moves the namespace may see in any window; null for any number.",
    )
    shard_window_moves: int | None = strawberry.field(
        default=DEFAULT_POLICY.shard_window_moves,
        description="How many moves one shard may see in any window; null for any number.",
    )
    involuntary_moves_limited: bool = strawberry.field(
        default=DEFAULT_POLICY.involuntary_moves_limited,
        description=(
            "Whether budget, windows and freezes hold up the moves of plans off nodes that are DOWN, REMOVED or not "
            "registered, too. Otherwise they neither hold them up nor count them."
        ),
    )
    owners_must_be_registered: bool = strawberry.field(
        default=DEFAULT_POLICY.owners_must_be_registered,
        description="Whether shards are given no owner and no leader that is not a registered node.",
    )


FREEZES = "When its shards may not be changed at all; at most 32 windows."


RECURRING_FREEZES = "When its shards may not be changed again and again; at most 16."


@strawberry.type(description="What changes of a namespace's shards must keep to.")
class NamespacePolicy(PolicyFields):
    freezes: list[FreezeWindow] = strawberry.field(default_factory=list, description=FREEZES)
    recurring_freezes: list[RecurringFreeze] = strawberry.field(default_factory=list, description=RECURRING_FREEZES)


_LONGEST_SPAN = timedelta(days=93)

_USUAL_SPAN = timedelta(days=31)

_MOST_FREEZES = 500

_YEARS = range(1970, 9000)
"""Of times that calendars are worked out for."""


def freezes_between(
    parent: strawberry.Parent[records.Namespace],
    from_: Annotated[datetime | None, strawberry.argument(name="from", description="From then on; null: now.")] = None,
    to: Annotated[datetime | None, strawberry.argument(description="Until then; null: 31 days later.")] = None,
) -> list[policy.FreezeWindow]:
    """Raises InvalidArgument for a span that ends before it begins, or is too long."""
    begin = datetime.now(UTC) if from_ is None else from_
    for name, time in (("from", from_), ("to", to)):
        if time is not None and (time.tzinfo is None or time.year not in _YEARS):
            raise InvalidArgument(FieldError(name, "must have a time zone and be from 1970 on"))
    end = begin + _USUAL_SPAN if to is None else to
    if not begin < end <= begin + _LONGEST_SPAN:
        raise InvalidArgument(FieldError("to", f"must be after from, and at most {_LONGEST_SPAN.days} days later"))
    return recurring_freezes.freezes_between(parent.policy, begin, end)[:_MOST_FREEZES]


@strawberry.type(description="A family of shards with one placement strategy.")
class Namespace:
    name: str = strawberry.field(description="Its name. At most 128 characters.")
    strategy: str = strawberry.field(description="The placement strategy: the name of one of `strategies`.")
    strategy_parameters: JSON = strawberry.field(
        description="The strategy's parameters as they were given; what is left out has its default."
    )
    algorithm_version: int = strawberry.field(
        description="The version of the strategy's algorithm. Another version may place shards elsewhere."
    )
    parameters_digest: str = strawberry.field(
        description="SHA-256 (hex) of strategy, algorithm version and all parameters with their defaults."
    )
    policy: NamespacePolicy = strawberry.field(description="What changes of its shards must keep to.")
    freezes_between = strawberry.field(
        resolver=freezes_between,
        graphql_type=list[FreezeWindow],
        description="When its shards may not be changed, recurring freezes included, as they begin: those that are in "
        "force at some time between the two, which are at most 93 days apart. At most 500.",
        metadata=costs(1),
    )
    window_use = strawberry.field(
        resolver=window_use,
        graphql_type=WindowUse | None,
        description="How much of the window of moves is used; null without `windowMoves` in the policy.",
        metadata=costs(STATEMENT),
    )
    version: Revision = strawberry.field(
        description="Counts the changes of its configuration, from 1. The `expectedVersion` of configureNamespace."
    )
    digest: str = strawberry.field(
        description=("32 hex digits over every shard's id, version and checksum: equal digests are equal tables.")
    )
    shard_count: int = strawberry.field(description="How many shards it has.")
    revision: Revision = strawberry.field(description="The revision of the last change to one of its shards.")
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When its configuration or one of its shards last changed.")


@strawberry.type(description="A namespace and its place in the list.")
class NamespaceEdge(Placed):
    node: Namespace = strawberry.field(description="The namespace.")


@strawberry.type(description="A page of namespaces, ordered by name.")
class NamespaceConnection(Paged):
    edges: list[NamespaceEdge] = strawberry.field(description="The namespaces with their cursors.")
    nodes: list[Namespace] = strawberry.field(description="The namespaces alone.")


async def namespace(
    info: Info, name: Annotated[str, strawberry.argument(description="The namespace's name.")]
) -> records.Namespace | None:
    check_identifiers(name=name)
    return await info.context.services.store.namespaces.get(name)


async def namespaces(
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    as_of: Annotated[
        AsOf | None,
        strawberry.argument(
            description=(
                "Answer as they were configured at a point in time; a revision is until the next one is made. Not with "
                "`digest`, `shardCount`, `revision`, `updatedAt` and `windowUse`: `shards(asOf:)` has their shards."
            )
        ),
    ] = None,
) -> Connection[records.Namespace]:
    page = read_page(info, cursors.NAMESPACES, first, after, last, before)
    store = info.context.services.store
    if as_of is None:
        found = await store.namespaces.page(page)
    else:
        if unknown := _OF_SHARDS(info):
            what = "what shards there were then is in shards(asOf:, filter: {namespace:}) and its totalCount"
            raise invalid("asOf", f"cannot be given where {unknown} is selected: {what}")
        found = await store.namespaces.page_as_of(page, as_of.record())
    return await connection(info, found, cursors.NAMESPACES, attrgetter("name"))


def _selected_of_shards(paths: frozenset[str]) -> str | None:
    """A field of namespaces that follows from the shards of now."""
    fields = ("digest", "shardCount", "revision", "updatedAt", "windowUse")
    return next((name for name in fields if not paths.isdisjoint((f"nodes.{name}", f"edges.node.{name}"))), None)


_OF_SHARDS: Final = OfSelection(_selected_of_shards)


@strawberry.type(description="Something that can be set for a strategy.")
class StrategyParameter:
    name: str = strawberry.field(description="Its name in `strategyParameters`.")
    rule: str = strawberry.field(description="What is allowed.")
    default: JSON | None = strawberry.field(
        description="What it is when it is left out; null where that means no limit."
    )
    constraint: bool = strawberry.field(
        description="Whether every strategy takes it: who may own, how much, how many copies and where."
    )


@dataclass(frozen=True, slots=True)
class ShownParameter:
    """`constraint`: every strategy takes it."""

    name: str
    rule: str
    default: object
    constraint: bool


def parameters(parent: strawberry.Parent[model.Strategy], info: Info) -> Sequence[ShownParameter]:
    return [
        ShownParameter(name, parameter.rule, parameter.default, name in CONSTRAINTS)
        for name, parameter in info.context.services.strategies.parameters(parent.name).items()
    ]


@strawberry.type(description="A placement strategy that namespaces can have.")
class Strategy:
    name: str = strawberry.field(description="Its name.")
    algorithm_version: int = strawberry.field(
        description="The version of its algorithm. Another version may place shards elsewhere."
    )
    movement: Movement = strawberry.field(description="What it leaves where it is when nodes come and go.")
    parameters = strawberry.field(
        resolver=parameters,
        graphql_type=list[StrategyParameter],
        description="What can be set: its own parameters, then those of every strategy.",
    )


def strategies(info: Info) -> Sequence[model.Strategy]:
    return tuple(info.context.services.strategies)
