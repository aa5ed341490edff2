"""Namespaces, by name and as a list, and refusing those that do not exist wherever a query names one.

Namespaces as the API shows them; the record is `persistence.records.Namespace`.

Policies as the API shows them, and the refusal by one; the records are those of `persistence.policy`.

Strategies as the API shows them; values: `graph/resolvers/strategies.py`.

The strategies there are, and what each takes.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

import strawberry

import graph.schema.enums  # noqa: F401 - registers the enums these types name
from graph.execution.context import Info
from graph.execution.errors import NotFoundError
from graph.schema.arguments import check_identifiers
from graph.schema.messages import no_namespace, not_found
from graph.schema.pagination import After, Before, Connection, First, Last, Paged, Placed, read_page
from graph.schema.scalars import JSON, Revision
from persistence.codec.cursors import namespace_cursor, read_namespace_cursor
from persistence.model import records
from persistence.model.outcomes import NotFound
from strategies import model
from strategies.constraints import CONSTRAINTS
from strategies.model import Movement


async def namespace(
    info: Info, name: Annotated[str, strawberry.argument(description="The namespace's name.")]
) -> records.Namespace | None:
    check_identifiers(name=name)
    return await info.context.store.namespaces.get(name)


async def namespaces(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[records.Namespace]:
    page = read_page(info, first, after, last, before, read_namespace_cursor)
    reader = info.context.store.namespaces
    return Connection(await reader.page(page), _cursor_of)


async def require_namespaces(info: Info, *names: str | None) -> None:
    """Raises NotFoundError for the first of these that there is not; null names none.

    A list asks only where it is empty: what it holds is of a namespace that exists, and none is ever deleted.
    """
    for name in names:
        if name is not None and not await info.context.store.namespaces.exists(name):
            raise await missing(info, NotFound(namespaces=(name,)))


async def missing(info: Info, outcome: NotFound) -> NotFoundError:
    """To be raised. With the namespace that may have been meant, if it is about one."""
    if not outcome.namespaces:
        return NotFoundError(not_found(outcome))
    name = outcome.namespaces[0]
    names = await info.context.store.namespaces.around(name, _LOOKED_AT)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=_ALIKE)
    return NotFoundError(no_namespace(outcome.namespaces, next(iter(nearest), None)))


_LOOKED_AT: Final = 50
"""Names on either side: compared in a millisecond, where a store has thousands."""

_ALIKE: Final = 0.75
"""Of 1: a letter that is missing, added, or in another place, in a name of four or more."""


def _cursor_of(item: records.Namespace) -> str:
    return namespace_cursor(item.name)


APPROVAL_REQUIRED = "Whether a plan is applied only after someone else than its submitter approved it."

FREEZES = "When its shards may not be changed at all; at most 32 windows."

BEGINS = "When it begins."

ENDS = "When it ends: changes are allowed again from this moment on."

FREEZE_REASON = "Why. Not blank, at most 1,024 characters."


@strawberry.type(description="A time in which changes of a namespace's shards are refused.")
class FreezeWindow:
    begins: datetime = strawberry.field(description=BEGINS)
    ends: datetime = strawberry.field(description=ENDS)
    reason: str = strawberry.field(description=FREEZE_REASON)


MOVE_BUDGET_PERCENT = (
    "The share of the namespace's shards that one change may move, more than 0 and at most 100 percent. Rounded up, "
    "and one shard at least. A move gives a shard that is there another owner."
)

SHARD_WINDOW_MOVES = "How many moves one shard may see in any window; null for any number."

TICKET_PATTERN = (
    "A regular expression (RE2 syntax, at most 256 characters) that must match the whole of every ticket given; "
    "null for any ticket."
)

TICKET_REQUIRED = "Whether changes of shards need a ticket."

WINDOW_MOVES = "How many moves the namespace may see in any window; null for any number."

WINDOW_SECONDS = "The length of the windows in which moves are counted: 1 to 2,592,000 seconds."


@strawberry.type(description="What changes of a namespace's shards must keep to.")
class NamespacePolicy:
    ticket_required: bool = strawberry.field(description=TICKET_REQUIRED)
    ticket_pattern: str | None = strawberry.field(description=TICKET_PATTERN)
    approval_required: bool = strawberry.field(description=APPROVAL_REQUIRED)
    move_budget_percent: float = strawberry.field(description=MOVE_BUDGET_PERCENT)
    window_seconds: int = strawberry.field(description=WINDOW_SECONDS)
    window_moves: int | None = strawberry.field(description=WINDOW_MOVES)
    shard_window_moves: int | None = strawberry.field(description=SHARD_WINDOW_MOVES)
    freezes: list[FreezeWindow] = strawberry.field(description=FREEZES)


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
    version: Revision = strawberry.field(
        description="Counts the changes of its configuration, from 1. The `expectedVersion` of configureNamespace."
    )
    digest: str = strawberry.field(
        description=(
            "32 hex digits over every shard's id, version and checksum: "
            "whoever holds the same digest holds the same table."
        )
    )
    shard_count: int = strawberry.field(description="How many shards it has.")
    revision: Revision = strawberry.field(description="The revision of the last change to one of its shards.")
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When its configuration or one of its shards last changed.")


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
        for name, parameter in info.context.strategies.parameters(parent.name).items()
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
    return tuple(info.context.strategies)


@strawberry.type(description="A namespace and its place in the list.")
class NamespaceEdge(Placed):
    node: Namespace = strawberry.field(description="The namespace.")


@strawberry.type(description="A page of namespaces, ordered by name.")
class NamespaceConnection(Paged):
    edges: list[NamespaceEdge] = strawberry.field(description="The namespaces with their cursors.")
    nodes: list[Namespace] = strawberry.field(description="The namespaces alone.")
