"""Values of inputs that say more than their type does."""

from collections.abc import Mapping
from typing import Any

import strawberry

from persistence import commands
from persistence.errors import FieldError, InvalidArgument
from persistence.fields import shown
from persistence.records import MAX_COUNTER


def given(value: Any) -> Any:
    """What was left out of the request is left alone by the store; null is a value."""
    return commands.UNSET if value is strawberry.UNSET else value


def change_id(field: str, value: str) -> int:
    """The id of a change. Raises InvalidArgument naming `field` for what is none."""
    if value.isascii() and value.isdecimal() and len(value) <= len(str(MAX_COUNTER)) and int(value) <= MAX_COUNTER:
        return int(value)
    raise InvalidArgument(FieldError(field, f"{shown(value)} is not the id of a change: a whole number"))


def json_object(field: str, value: object, example: str) -> Mapping[str, Any]:
    """JSON that must be an object; null is an empty one. Raises InvalidArgument naming `field`."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise InvalidArgument(FieldError(field, f"must be a JSON object, such as {example}"))
