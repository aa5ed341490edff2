"""The strategies there are, by name: what a namespace's configuration is checked against, and run with."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from strategies.checking import Checked, text_of
from strategies.constraints import CONSTRAINTS, contradictions
from strategies.jump import Jump
from strategies.locality import Locality
from strategies.maglev import Maglev
from strategies.model import Node, Strategy
from strategies.parameters import Parameter
from strategies.placing import Placer
from strategies.rendezvous import Rendezvous
from strategies.ring import Ring
from strategies.sticky import Sticky

DEFAULT_STRATEGY: Final = "rendezvous"
BUILT_IN: Final[Sequence[Strategy]] = (Rendezvous(), Ring(), Locality(), Maglev(), Jump(), Sticky())


class Registry:
    """Strategies by name: our own, and plug-ins, which are not trusted to keep the laws (`checking.py`).

    Raises ValueError for a plug-in whose name is taken or that takes a parameter with a constraint's name.
    """

    def __init__(self, plug_ins: Iterable[Strategy] = ()) -> None:
        self._strategies: dict[str, Strategy] = {strategy.name: strategy for strategy in BUILT_IN}
        for plug_in in plug_ins:
            if plug_in.name in self._strategies:
                raise ValueError(f"strategy {plug_in.name} exists already")
            if taken := sorted(plug_in.parameters.keys() & CONSTRAINTS.keys()):
                raise ValueError(f"strategy {plug_in.name}: every strategy has a parameter {taken[0]} already")
            self._strategies[plug_in.name] = Checked(plug_in)

    def __iter__(self) -> Iterator[Strategy]:
        return iter(self._strategies.values())

    def __contains__(self, name: object) -> bool:
        return name in self._strategies

    def __getitem__(self, name: str) -> Strategy:
        return self._strategies[name]

    def parameters(self, name: str) -> Mapping[str, Parameter]:
        """All that a namespace may set: the strategy's own, and the constraints that go with any strategy."""
        return {**self[name].parameters, **CONSTRAINTS}

    def problem(self, name: str) -> str | None:
        """None, or why there is no strategy of this name, with the nearest that there is."""
        return None if name in self else _unknown("strategy", name, self._strategies)

    def parameter_problems(self, name: str, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """(parameter, what is wrong with it) for a known strategy; contradictions once each value is right."""
        known = self.parameters(name)
        sound = True
        for parameter, value in given.items():
            problem = (
                _problem(known[parameter], value) if parameter in known else _unknown("parameter", parameter, known)
            )
            if problem is not None:
                sound = False
                yield parameter, problem
        if sound:
            yield from contradictions(self.complete(name, given))

    def complete(self, name: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Every parameter with its value, defaults filled in."""
        return {parameter: rule.default for parameter, rule in self.parameters(name).items()} | dict(given)

    def digest(self, name: str, given: Mapping[str, Any]) -> str:
        """SHA-256 (hex) of strategy, algorithm version and everything that decides: the strategy's own parameters with
        their defaults, and the constraints that are not at theirs.

        Two namespaces with equal digests place equal shards on equal nodes equally.
        """
        strategy = self[name]
        complete = self.complete(name, given)
        effective = {
            parameter: value
            for parameter, value in complete.items()
            if parameter in strategy.parameters or value != CONSTRAINTS[parameter].default
        }
        document = [name, strategy.algorithm_version, effective]
        return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def placer(self, name: str, given: Mapping[str, Any], nodes: Sequence[Node]) -> Placer:
        """What this configuration means over these nodes. Raises Infeasible, PlacementFailed."""
        return Placer(self[name], self.complete(name, given), nodes)


def _problem(rule: Parameter, value: object) -> str | None:
    """The rule's problem with the value, or null. A plug-in's rule may raise: what it cannot judge is refused."""
    try:
        problem = rule.problem(value)
    except Exception as error:  # noqa: BLE001 - the plug-in's, whatever it is
        return f"its rule failed: {type(error).__name__}: {text_of(error)}"
    return None if problem is None else text_of(problem)


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    nearest = difflib.get_close_matches(name[:64], names, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"there is no {what} {name[:64]!a}: known are {', '.join(names)}{hint}"
