"""The fields that a selection comes to, in their order and merged, as graphql-core's `collect_fields` finds them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from graphql import (
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    OperationDefinitionNode,
    get_named_type,
    is_leaf_type,
)
from graphql.execution.collect_fields import FieldDetails, FragmentDetails, collect_fields, collect_subfields
from graphql.execution.values import VariableValues
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from graph.execution.inputs import NotPrepared
from graph.execution.records import Selection
from graph.execution.workload import names_below

TYPENAME: Final = "__typename"


class SelectedFields:
    """Of one operation of a valid document, with the booleans that its `@skip` and `@include` depend on. Fields are by
    their names in the answer."""

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        conditions: VariableValues,
    ) -> None:
        self._schema = schema
        self._operation = operation
        self._nodes = fragments
        self._fragments = {name: FragmentDetails(node) for name, node in fragments.items()}
        self._conditions = conditions

    def of_root(self, root: GraphQLObjectType) -> Mapping[str, list[FieldDetails]]:
        collected = collect_fields(self._schema, self._fragments, self._conditions, root, self._operation)
        return collected.grouped_field_set

    def of(self, type_: GraphQLObjectType, details: list[FieldDetails]) -> Mapping[str, list[FieldDetails]]:
        """Raises NotPrepared."""
        collected = collect_subfields(self._schema, self._fragments, self._conditions, self._operation, type_, details)
        if collected.new_defer_usages:
            raise NotPrepared("a selection that is deferred")
        return collected.grouped_field_set

    def names(self, type_: GraphQLOutputType, details: list[FieldDetails]) -> frozenset[str]:
        """The names in the schema; none of a leaf, or of an abstract type. Raises NotPrepared."""
        named = get_named_type(type_)
        if not isinstance(named, GraphQLObjectType):
            return frozenset()
        return frozenset(fields[0].node.name.value for fields in self.of(named, details).values())

    def names_below(self, details: list[FieldDetails]) -> frozenset[str]:
        """The names of all fields below, however deep, whatever `@skip` and `@include` make of them."""
        return frozenset(names_below([each.node for each in details], self._nodes))

    def definition(
        self, parent: GraphQLObjectType, details: Sequence[FieldDetails]
    ) -> tuple[GraphQLField, StrawberryField]:
        """Raises NotPrepared for a field that more than its resolver decides."""
        name = details[0].node.name.value
        field = self._schema.get_field(parent, name)
        definition = None if field is None else (field.extensions or {}).get(GraphQLCoreConverter.DEFINITION_BACKREF)
        if field is None or not isinstance(definition, StrawberryField):
            raise NotPrepared("introspection")
        if definition.extensions or definition.default_resolver is not getattr:
            raise NotPrepared(f"{parent.name}.{name} has extensions")
        return field, definition

    def of_record(self, type_: GraphQLObjectType, details: list[FieldDetails]) -> Selection | None:
        """What is selected of an object, for `leaves` and comparison; null where that is more than its attributes."""
        members: list[Selection] = []
        for name, fields in self.of(type_, details).items():
            if fields[0].node.name.value == TYPENAME:
                members.append((name, TYPENAME, None))
                continue
            field, definition = self.definition(type_, fields)
            named, inner = get_named_type(field.type), None
            if definition.base_resolver is not None or field.args:
                return None
            if not is_leaf_type(named):
                inner = self.of_record(named, fields) if isinstance(named, GraphQLObjectType) else None
                if inner is None:
                    return None
            members.append((name, definition.python_name, inner))
        return type_.name, tuple(members)


def leaves(selection: Any) -> int:
    """How many are selected of a record."""
    _, members = selection
    return sum(1 if inner is None else leaves(inner) for _, _, inner in members)
