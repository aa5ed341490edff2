"""Strategies as the API shows them; values: `graph/resolvers/strategies.py`."""

import strawberry

import graph.enums  # noqa: F401 - registers the enums these types name
from graph.resolvers import strategies
from graph.scalars import JSON
from strategies.model import Movement


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


@strawberry.type(description="A placement strategy that namespaces can have.")
class Strategy:
    name: str = strawberry.field(description="Its name.")
    algorithm_version: int = strawberry.field(
        description="The version of its algorithm. Another version may place shards elsewhere."
    )
    movement: Movement = strawberry.field(description="What it leaves where it is when nodes come and go.")
    parameters = strawberry.field(
        resolver=strategies.parameters,
        graphql_type=list[StrategyParameter],
        description="What can be set: its own parameters, then those of every strategy.",
    )
