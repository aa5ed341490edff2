"""Strategies from other distributions, found through the entry-point group `omnirelay.strategies`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from strategies.constraints import CONSTRAINTS
from strategies.model import Movement, Strategy
from strategies.registry import BUILT_IN

GROUP: Final = "omnirelay.strategies"

_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")

_LARGEST_VERSION: Final = 2**31 - 1
"""The API's numbers, and the columns that hold it, are of 32 bits."""

_MEMBERS: Final[Mapping[str, tuple[type, str]]] = {
    "name": (str, "text"),
    "algorithm_version": (int, "a whole number"),
    "parameters": (Mapping, "a mapping of names to parameters"),
    "movement": (Movement, "a Movement"),
}


class PlugInError(Exception):
    """An installed plug-in cannot be used. The message names its distribution and entry point, and the reason."""

    def __init__(self, entry_point: EntryPoint, reason: str) -> None:
        written = f"{entry_point.name} = {entry_point.value}"
        super().__init__(f"plug-in {_distribution(entry_point)}, entry point {written}: {reason}")


def discover() -> Sequence[Strategy]:
    """Every strategy beside the built-in ones, by distribution and entry point. Imports and runs their code.

    An entry point names a Strategy, or a class that makes one without arguments.

    Raises PlugInError for the first that cannot be loaded, is no Strategy, or has a name that is invalid or taken:
    left out in silence, it would be missed only when a namespace that names it is to be placed.
    """
    found: list[Strategy] = []
    taken_by = {strategy.name: "Omnirelay itself" for strategy in BUILT_IN}
    for entry_point in sorted(entry_points(group=GROUP), key=lambda point: (_distribution(point), point.name)):
        try:
            loaded = entry_point.load()
            strategy = loaded() if isinstance(loaded, type) else loaded
            problem = next(_problems(strategy), None)
        except Exception as error:
            raise PlugInError(entry_point, f"cannot be loaded: {type(error).__name__}: {error}") from error
        if problem is not None:
            raise PlugInError(entry_point, f"is no strategy: {problem}")
        if strategy.name in taken_by:
            raise PlugInError(entry_point, f"the name {strategy.name} is taken by {taken_by[strategy.name]}")
        taken_by[strategy.name] = _distribution(entry_point)
        found.append(strategy)
    return found


def _distribution(entry_point: EntryPoint) -> str:
    return "of no distribution" if entry_point.dist is None else entry_point.dist.name


def _problems(candidate: Any) -> Iterator[str]:
    """What it lacks of a Strategy, as far as can be seen without running it."""
    for member, (kind, description) in _MEMBERS.items():
        value = getattr(candidate, member, None)
        if not isinstance(value, kind):
            yield f"its {member} must be {description}, not {value!a}"
    if not callable(getattr(candidate, "prepare", None)):
        yield "it has no method prepare"
    if not 1 <= candidate.algorithm_version <= _LARGEST_VERSION:
        yield f"its algorithm_version must be from 1 to {_LARGEST_VERSION}, not {candidate.algorithm_version}"
    if not _IDENTIFIER.fullmatch(candidate.name):
        yield f"its name must match {_IDENTIFIER.pattern}, not be {candidate.name!a}"
    for name, parameter in candidate.parameters.items():
        if name in CONSTRAINTS:
            yield f"every strategy has a parameter {name} already"
        if not isinstance(parameter.rule, str):
            yield f"its parameter {name} tells no rule"
        if (problem := parameter.problem(parameter.default)) is not None:
            yield f"its parameter {name} {problem}, which its default is not"
