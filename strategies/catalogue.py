"""The strategies there are, the parameters each takes, and the rules for those, as one table.

A namespace names one of them; whoever reads a configuration checks it here, so that what is stored can be run.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class IntegerParameter:
    default: int
    minimum: int
    maximum: int

    def problem(self, value: object) -> str | None:
        if isinstance(value, int) and not isinstance(value, bool) and self.minimum <= value <= self.maximum:
            return None
        return f"must be a whole number from {self.minimum:,} to {self.maximum:,}"


@dataclass(frozen=True, slots=True)
class ChoiceParameter:
    default: str
    choices: tuple[str, ...]

    def problem(self, value: object) -> str | None:
        return None if value in self.choices else f"must be one of {', '.join(self.choices)}"


@dataclass(frozen=True, slots=True)
class StrategyDefinition:
    """`algorithm_version` changes whenever the same input may give another owner."""

    name: str
    algorithm_version: int
    parameters: Mapping[str, IntegerParameter | ChoiceParameter] = field(default_factory=dict)


DEFAULT_STRATEGY: Final = "rendezvous"
STRATEGIES: Final[Mapping[str, StrategyDefinition]] = {
    definition.name: definition
    for definition in (
        StrategyDefinition("ring", 1, {"virtualNodes": IntegerParameter(160, 1, 4_096)}),
        StrategyDefinition("rendezvous", 1),
        StrategyDefinition(
            "locality",
            1,
            {
                "mode": ChoiceParameter("prefer", ("prefer", "strict")),
                "regionBoost": IntegerParameter(16, 1, 1_024),
                "zoneBoost": IntegerParameter(64, 1, 1_024),
            },
        ),
    )
}


def strategy_problem(name: str) -> str | None:
    """None, or why there is no strategy of this name, with the nearest that there is."""
    return None if name in STRATEGIES else _unknown("strategy", name, STRATEGIES)


def parameter_problems(strategy: str, parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(parameter, what is wrong with it) for a known strategy."""
    known = STRATEGIES[strategy].parameters
    for name, value in parameters.items():
        if name not in known:
            yield name, _unknown("parameter", name, known)
        elif problem := known[name].problem(value):
            yield name, problem


def parameters_digest(strategy: str, parameters: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of strategy, algorithm version and all its parameters, defaults filled in.

    Two namespaces with equal digests place equal shards on equal nodes equally.
    """
    definition = STRATEGIES[strategy]
    effective = {name: parameter.default for name, parameter in definition.parameters.items()} | dict(parameters)
    document = [strategy, definition.algorithm_version, effective]
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    if not names:
        return f"there is no {what} {name[:64]!a}: this strategy takes none"
    nearest = difflib.get_close_matches(name[:64], names, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"there is no {what} {name[:64]!a}: known are {', '.join(names)}{hint}"
