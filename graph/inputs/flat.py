"""Inputs that come by the thousand, made straight from the request.

Strawberry resolves the type and the name of each field again for each value: 5,000 shards took 0.4 s, in which the
process answered nobody. An input whose fields are all leaves needs neither, since graphql-core has read those already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from strawberry.types.arguments import InputContext
from strawberry.types.base import StrawberryObjectDefinition

T = TypeVar("T", bound=type)


def flat(input_type: T) -> T:
    """Class decorator for an input type whose fields are scalars or enums, and have a default where null is allowed."""
    definition: StrawberryObjectDefinition = input_type.__strawberry_definition__  # type: ignore[attr-defined]
    names: dict[str, str] = {}

    def build(type_: type, value: Mapping[str, Any], context: InputContext) -> Any:
        if not names:
            name_of = context.config.name_converter.from_field
            names.update({name_of(field): field.python_name for field in definition.fields})
        return type_(**{names[name]: given for name, given in value.items()})

    definition.from_input = build
    return input_type
