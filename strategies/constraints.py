"""What a namespace may constrain whatever its strategy: which nodes may own, how much, how many copies and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from strategies.parameters import ChoiceParameter, IntegerParameter, Parameter, TextParameter
from strategies.selectors import MAX_LENGTH, read_selector

# A default here changes nothing about a placement, and is no part of a configuration's digest. So a constraint may be
# added without any stored configuration looking like another one.
CONSTRAINTS: Final[Mapping[str, Parameter]] = {
    "selector": TextParameter("", f"a label selector of at most {MAX_LENGTH:,} characters", read_selector),
    "maxLoadPercent": IntegerParameter(None, 100, 10_000),
    "loadBy": ChoiceParameter("count", ("count", "capacity")),
    "maxShardsPerNode": IntegerParameter(None, 1, 1_000_000),
    "replicas": IntegerParameter(1, 1, 16),
    "spread": ChoiceParameter("none", ("none", "zone", "region")),
}


def contradictions(complete: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(parameter, predicate) for values that are each right, and that no nodes at all could satisfy.

    A value that has no effect beside the others, such as `spread` with one replica, is no contradiction.
    """
    contradiction = read_selector(complete["selector"]).contradiction()
    if contradiction is not None:
        yield "selector", contradiction
