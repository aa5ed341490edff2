"""The scope that each field of the root types needs, and whether a caller has all that an operation needs.

An operation is looked at as a whole, before any of it is executed, whichever transport it came by: ten mutations of
which the last is not allowed change nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
)
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.field import StrawberryField

from graph.auth.principal import Forbidden, Principal, Scope
from graph.execution.errors import Code, coded

_SCOPE: Final = "omnirelay.scope"

_INTROSPECTION: Final = frozenset({"__schema", "__type", "__typename"})


def needs(scope: Scope) -> Mapping[str, Any]:
    """Metadata of a field of the root types: what a token must allow to select it."""
    return {_SCOPE: scope}


class Requirements:
    """Of one schema. Reading and following need `mesh.read`; every mutation declares what it needs."""

    def __init__(self, schema: GraphQLSchema) -> None:
        """Raises TypeError for a mutation that does not."""
        mutations = {} if schema.mutation_type is None else schema.mutation_type.fields
        self._mutations = {name: _declared(name, field) for name, field in mutations.items()}

    def of(self, kind: OperationType, field: str) -> Scope:
        """What selecting this field needs. Also for one that does not exist, `__typename` and introspection."""
        return self._mutations.get(field, Scope.READ) if kind is OperationType.MUTATION else Scope.READ

    def scopes(self, document: DocumentNode, operation: OperationDefinitionNode) -> frozenset[Scope]:
        """All that the operation needs."""
        fields = _root_fields(document, operation.selection_set, set())
        return frozenset(self.of(operation.operation, node.name.value) for node in fields)

    def problem(
        self, document: DocumentNode, operation: OperationDefinitionNode, principal: Principal
    ) -> GraphQLError | None:
        """The first field of the operation that the principal may not select, skipped ones included, as an error."""
        for node in _root_fields(document, operation.selection_set, set()):
            name = node.name.value
            try:
                principal.require(self.of(operation.operation, name), name)
            except Forbidden as forbidden:
                return coded(GraphQLError(str(forbidden), node), Code.FORBIDDEN, scope=forbidden.scope)
        return None


def introspects_only(document: DocumentNode) -> bool:
    """Whether every operation of a valid document is a query that selects nothing but the schema and `__typename`."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    return all(
        operation.operation is OperationType.QUERY
        and all(node.name.value in _INTROSPECTION for node in _root_fields(document, operation.selection_set, set()))
        for operation in operations
    )


def _declared(name: str, field: Any) -> Scope:
    definition = (field.extensions or {}).get(GraphQLCoreConverter.DEFINITION_BACKREF)
    scope = definition.metadata.get(_SCOPE) if isinstance(definition, StrawberryField) else None
    if not isinstance(scope, Scope):
        raise TypeError(f"the mutation {name} does not declare which scope it needs: metadata=needs(Scope.OPERATE)")
    return scope


def _root_fields(document: DocumentNode, selections: SelectionSetNode, spread: set[str]) -> Iterator[FieldNode]:
    """With fragments spread out; each once, for they may go in circles."""
    for selection in selections.selections:
        if isinstance(selection, FieldNode):
            yield selection
        elif isinstance(selection, FragmentSpreadNode):
            name = selection.name.value
            if name not in spread:
                spread.add(name)
                yield from _root_fields(document, _fragment(document, name), spread)
        else:
            yield from _root_fields(document, selection.selection_set, spread)  # type: ignore[attr-defined] # inline


def _fragment(document: DocumentNode, name: str) -> SelectionSetNode:
    return next(
        node.selection_set
        for node in document.definitions
        if isinstance(node, FragmentDefinitionNode) and node.name.value == name
    )
