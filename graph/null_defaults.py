"""Arguments and input fields that default to null in Python, shown without a default.

Left out or null means the same for all of them; `= null` on every line would only be in the reader's way.
"""

from collections.abc import Iterator

from graphql import (
    GraphQLArgument,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
)


def drop_null_defaults(schema: GraphQLSchema) -> None:
    for value in _input_values(schema):
        if value.default_value is None:
            value.default_value = Undefined


def _input_values(schema: GraphQLSchema) -> Iterator[GraphQLArgument | GraphQLInputField]:
    for named in schema.type_map.values():
        if isinstance(named, GraphQLInputObjectType):
            yield from named.fields.values()
        elif isinstance(named, GraphQLObjectType):
            for field in named.fields.values():
                yield from field.args.values()
