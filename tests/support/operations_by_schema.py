"""The smallest operation for any field of the root types, made from the schema: whatever is added is tried too."""

from __future__ import annotations

from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    OperationType,
    Undefined,
)

_LEAVES: dict[str, Any] = {
    "Int": 1,
    "Float": 1.0,
    "Boolean": True,
    "Revision": "1",
    "JSON": {},
    "DateTime": "2026-01-01T00:00:00Z",
}


def operation_on(schema: GraphQLSchema, kind: OperationType, field: str) -> tuple[str, dict[str, Any]]:
    """The document and its variables: all that is required, with any value."""
    root = schema.get_root_type(kind)
    assert root is not None
    found = schema.get_field(root, field)
    assert found is not None, field
    needed = {name: argument for name, argument in found.args.items() if _is_required(argument)}
    declared = ", ".join(f"${name}: {argument.type}" for name, argument in needed.items())
    passed = ", ".join(f"{name}: ${name}" for name in needed)
    document = (
        f"{kind.value} {f'({declared})' if declared else ''} "
        f"{{ {field}{f'({passed})' if passed else ''} {{ __typename }} }}"
    )
    return document, {name: _value(argument.type) for name, argument in needed.items()}


def _is_required(argument: GraphQLArgument) -> bool:
    return isinstance(argument.type, GraphQLNonNull) and argument.default_value is Undefined


def _value(type_: GraphQLInputType) -> Any:
    match type_:
        case GraphQLNonNull():
            return _value(type_.of_type)
        case GraphQLList():
            return [_value(type_.of_type)]
        case GraphQLEnumType():
            return next(iter(type_.values))
        case GraphQLInputObjectType():
            fields = type_.fields.items()
            return {
                name: _value(field.type)
                for name, field in fields
                if isinstance(field.type, GraphQLNonNull) and field.default_value is Undefined
            }
        case _:
            return _LEAVES.get(type_.name, "x")
