"""Leaves of a prepared operation: how their values are completed by generated Python."""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from types import NoneType
from typing import Any, Final

from graphql import GraphQLID, GraphQLLeafType, Undefined

from graph.execution.encoding import write_date_time
from graph.execution.inputs import TESTS, Functions, failed

NOT_OBJECTS: Final = (NoneType, Exception)

NAMES: Final = {"datetime": datetime, "UTC": UTC, "NOT_OBJECTS": NOT_OBJECTS}


def object_names() -> dict[str, Any]:
    """`type(value) in OBJECTS or checked(value)` is true of an object and fails for null and errors: the types of
    objects that were found to be some are remembered, for `isinstance` takes as long as completing three leaves."""
    objects: set[type] = set()

    def checked(value: Any) -> bool:
        if isinstance(value, NOT_OBJECTS):
            failed()
        objects.add(type(value))
        return True

    return {"OBJECTS": objects, "checked": checked}


def complete_leaf(made: Functions, type_: GraphQLLeafType, code: str, *, is_optional: bool) -> str:
    """Python that completes the leaf that `code`, evaluated once, comes to; `made` must have NAMES. Values of the type
    expected are passed on, or looked up; others are left to graphql-core's coercion."""
    value, assigned = made.assigned(code)
    members = _members(type_)
    if members is not None:
        kind, names = members
        test, completed = (
            f"type({assigned}) is {made.named(kind)}",
            f"{made.named(names)}[{value}]",
        )
    elif type_.coerce_output_value is write_date_time:
        # Left to orjson, which writes a time in UTC alike.
        test, completed = f"type({assigned}) is datetime and {value}.tzinfo is UTC", value
    elif type_.coerce_output_value is int.__repr__:
        # In half the time that `int.__repr__` takes.
        test, completed = f"type({assigned}) is int", f"f'{{{value}}}'"
    elif type_ in TESTS:
        test, completed = TESTS[type_].format(value=value, assigned=assigned), value
    else:
        coerced, assigned_coerced = made.assigned(f"{made.named(type_.coerce_output_value)}({value})")
        present = f"({coerced} if {assigned_coerced} is not None else failed())"
        return f"({'None' if is_optional else 'failed()'} if {assigned} is None else {present})"
    null = f"None if {value} is None else " if is_optional else ""
    number = f"f'{{{value}}}' if type({value}) is int else " if type_ is GraphQLID else ""
    return f"({completed} if {test} else {null}{number}{made.named(_strict(type_))}({value}))"


def _members(type_: GraphQLLeafType) -> tuple[type, dict[Any, str]] | None:
    """The class of an enum, and the names of its members in the schema; null where one has none."""
    kind = getattr(type_, "wrapped_cls", None)
    if not (isinstance(kind, type) and issubclass(kind, Enum)):
        return None
    return kind, {member: type_.coerce_output_value(member) for member in kind}


def _strict(type_: GraphQLLeafType) -> Callable[[Any], Any]:
    """graphql-core's completion of a leaf that must not be null."""

    def complete(value: Any) -> Any:
        coerced = Undefined if value is None else type_.coerce_output_value(value)
        return failed() if coerced is None or coerced is Undefined else coerced

    return complete
