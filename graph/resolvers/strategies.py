"""The strategies there are, and what each takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import strawberry

from graph.context import Info
from strategies.constraints import CONSTRAINTS
from strategies import model


@dataclass(frozen=True, slots=True)
class ShownParameter:
    """`constraint`: every strategy takes it."""

    name: str
    rule: str
    default: object
    constraint: bool


def strategies(info: Info) -> Sequence[model.Strategy]:
    return tuple(info.context.strategies)


def parameters(parent: strawberry.Parent[model.Strategy], info: Info) -> Sequence[ShownParameter]:
    return [
        ShownParameter(name, parameter.rule, parameter.default, name in CONSTRAINTS)
        for name, parameter in info.context.strategies.parameters(parent.name).items()
    ]
