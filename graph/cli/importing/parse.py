"""One line of a file: the shard it names, and the fields it gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from graph.cli.imports.problems import Problems
from graph.cli.output import Json
from persistence.fields import capacity_problem, identifier_problem, locality_problem, shown
from persistence.records import ShardKey, ShardStatus

COLUMNS: Final = (
    *("namespace", "shardId", "ownerNodeId", "leaderId", "capacityHint", "localityHint", "status"),
    "antiAffinityGroup",
)
CLEARABLE: Final = ("leaderId", "localityHint", "antiAffinityGroup")
"""Columns that may say that there is none."""


@dataclass(frozen=True, slots=True)
class Row:
    """`fields` holds what the file gives beyond the identity, by the names of the API. What it leaves out stays as it
    is, and has its default in a new shard."""

    line: int
    key: ShardKey
    fields: Json


def read_row(line: int, values: Mapping[str, object], namespace: str | None, problems: Problems) -> Row | None:
    """The row these values make, or none and what is wrong with them. `namespace` is that of the command line."""
    before = problems.count
    given = dict(values)
    given.setdefault("namespace", namespace)
    for column in ("namespace", "shardId", "ownerNodeId"):
        given.setdefault(column, None)
    for column, value in given.items():
        problem = _problem(column, value)
        if problem is not None:
            problems.add(line, column, problem)
    if namespace is not None and problems.count == before and given["namespace"] != namespace:
        problems.add(line, "namespace", f"is {given['namespace']}, but --namespace says {namespace}")
    if problems.count > before:
        return None
    key = ShardKey(str(given.pop("namespace")), str(given.pop("shardId")))
    return Row(line, key, {column: _as_stored(value) for column, value in given.items()})


def _problem(column: str, value: object) -> str | None:
    if value is None:
        return None if column in CLEARABLE else "is missing"
    if column == "capacityHint":
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"must be a number, not {shown(str(value))}"
        return _number_problem(value)
    if not isinstance(value, str):
        return f"must be a string, not {shown(str(value))}"
    return _TEXT_RULES.get(column, identifier_problem)(value)


def _number_problem(value: float) -> str | None:
    try:
        return capacity_problem(float(value))
    except OverflowError:
        return "must be a finite number"


def _status_problem(value: str) -> str | None:
    return None if value in set(ShardStatus) else f"{shown(value)} is no status: {', '.join(ShardStatus)}"


_TEXT_RULES: Final[Mapping[str, Callable[[str], str | None]]] = {
    "localityHint": locality_problem,
    "status": _status_problem,
}


def _as_stored(value: object) -> object:
    return float(value) if isinstance(value, int) else value
