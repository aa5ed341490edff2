"""Values of inputs that say more than their type does."""

from collections.abc import Mapping
from typing import Any

import strawberry

from persistence import commands
from persistence.errors import FieldError, InvalidArgument


def given(value: Any) -> Any:
    """What was left out of the request is left alone by the store; null is a value."""
    return commands.UNSET if value is strawberry.UNSET else value


def json_object(field: str, value: object, example: str) -> Mapping[str, Any]:
    """JSON that must be an object; null is an empty one. Raises InvalidArgument naming `field`."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise InvalidArgument(FieldError(field, f"must be a JSON object, such as {example}"))
