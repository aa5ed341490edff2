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
        fields = _root_fields(operation.selection_set, _fragments(document))
        return frozenset(self.of(operation.operation, node.name.value) for node in fields)

    def problem(
        self, document: DocumentNode, operation: OperationDefinitionNode, principal: Principal
    ) -> GraphQLError | None:
        """The first field of the operation that the principal may not select, skipped ones included, as an error."""
        for node in _root_fields(operation.selection_set, _fragments(document)):
            name = node.name.value
            try:
                principal.require(self.of(operation.operation, name), name)
            except Forbidden as forbidden:
                return coded(GraphQLError(str(forbidden), node), Code.FORBIDDEN, scope=forbidden.scope)
        return None


def introspects_only(document: DocumentNode) -> bool:
    """Whether every operation of a valid document is a query that selects nothing but the schema and `__typename`."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    fragments = _fragments(document)
    return all(
        operation.operation is OperationType.QUERY
        and all(node.name.value in _INTROSPECTION for node in _root_fields(operation.selection_set, dict(fragments)))
        for operation in operations
    )


def _declared(name: str, field: Any) -> Scope:
    definition = (field.extensions or {}).get(GraphQLCoreConverter.DEFINITION_BACKREF)
    scope = definition.metadata.get(_SCOPE) if isinstance(definition, StrawberryField) else None
    if not isinstance(scope, Scope):
        raise TypeError(f"the mutation {name} does not declare which scope it needs: metadata=needs(Scope.OPERATE)")
    return scope


def _root_fields(selections: SelectionSetNode, fragments: dict[str, SelectionSetNode]) -> Iterator[FieldNode]:
    """With fragments spread out; each once, for they may go in circles: what is spread is taken out of `fragments`."""
    for selection in selections.selections:
        if isinstance(selection, FieldNode):
            yield selection
        elif isinstance(selection, FragmentSpreadNode):
            spread = fragments.pop(selection.name.value, None)
            if spread is not None:
                yield from _root_fields(spread, fragments)
        else:
            yield from _root_fields(selection.selection_set, fragments)  # type: ignore[attr-defined] # inline


def _fragments(document: DocumentNode) -> dict[str, SelectionSetNode]:
    return {
        node.name.value: node.selection_set for node in document.definitions if isinstance(node, FragmentDefinitionNode)
    }
