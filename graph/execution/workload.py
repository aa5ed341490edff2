"""What an operation costs, as far as its document shows: by that admission control distinguishes operations."""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Any, Final, NamedTuple, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    NullValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
)


class Workload(StrEnum):
    """What there is a bound of, and a queue for: a turn of the event loop, the same where it may be after the replica
    has caught up, a short statement, statements over history, a process that plans, a commit."""

    LOOKUP = "lookup"
    CATCH_UP = "catch_up"
    QUERY = "query"
    HISTORY = "history"
    PLANNING = "planning"
    MUTATION = "mutation"

    @property
    def is_lookup(self) -> bool:
        """Whether it is answered from memory."""
        return self is Workload.LOOKUP or self is Workload.CATCH_UP


FROM_MEMORY: Final = frozenset({"shard", "shards", "shardsByKey", "__typename"})

_FROM_POSITION: Final = frozenset({"atLeast", "atLeastCursor"})

_STORED: Final = frozenset({"lastChange", "ownerChange", "ownerSince"})
"""Of shards, what memory does not have."""

_PAST: Final = frozenset({"shardHistory", "shardDiff", "changes", "refusals"})

_PLANNED: Final = frozenset({"simulateRebalance", "explainShard", "drainPreflight", "planPreflight"})

_PLANNED_CHANGES: Final = frozenset({"planRebalance", "applyPlan", "rollbackChange", "drainNode"})

_ANY_NUMBER: Final = 1_000
"""Of fields: more than an operation has."""

_QUERIES_AT_ONCE: Final = 4

_ORDER: Final = tuple(Workload)
"""An operation that has fields of several is of the one that comes last here."""


class Classification(NamedTuple):
    """`usual`, but of history where a variable of `past` has a value, which names a moment of the past; and a lookup
    that waits for the replica where one of `positions` has a value, or one of `namespaces` has none: a list of all of
    them waits while one is behind. Each of `namespaces` is a variable, and the fields on the way into it; so is each of
    `nodes`, with a value of which it depends on what nodes there are."""

    usual: Workload
    past: tuple[str, ...] = ()
    positions: tuple[str, ...] = ()
    namespaces: tuple[tuple[str, ...], ...] = ()
    nodes: tuple[tuple[str, ...], ...] = ()

    @property
    def fields_at_once(self) -> int:
        """How many root fields of one operation are resolved at the same time. It holds one turn: with two hundred
        fields it must not take all connections, or each process that plans. What is answered from memory is not sooner
        there side by side, and what waits for the replica waits for the same."""
        if self.usual is Workload.CATCH_UP or self.positions:
            return _ANY_NUMBER
        return _QUERIES_AT_ONCE if self.usual is Workload.QUERY and not self.past else 1

    def of(self, variables: Mapping[str, Any]) -> Workload:
        """With the variables as they came."""
        for name in self.past:
            if variables.get(name) is not None:
                return Workload.HISTORY
        for path in self.nodes:
            if _value_at(variables, path) is not None:
                return Workload.QUERY
        for name in self.positions:
            if variables.get(name) is not None:
                return Workload.CATCH_UP
        for path in self.namespaces:
            if _value_at(variables, path) is None:
                return Workload.CATCH_UP
        return self.usual


def _value_at(variables: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """Null where there is none, or where it is not an input object on the way."""
    value: Any = variables
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def classify(operation: OperationDefinitionNode | None, document: DocumentNode | None = None) -> Classification:
    """By the root fields, those of the fragments of `document` included. A lookup selects nothing but shards as they
    are now, which are answered from memory, and by their own names.

    A subscription is opened like a lookup, and what cannot be executed is answered like one.
    """
    if operation is None or operation.operation is OperationType.SUBSCRIPTION:
        return Classification(Workload.LOOKUP)
    fragments = _fragments(document)
    fields = list(_root_fields(operation.selection_set, dict(fragments)))
    if operation.operation is OperationType.MUTATION:
        plans = any(field.name.value in _PLANNED_CHANGES for field in fields)
        return Classification(Workload.PLANNING if plans else Workload.MUTATION)
    defaults = {each.variable.name.value: each.default_value for each in operation.variable_definitions or ()}
    usual = Workload.LOOKUP
    past: list[str] = []
    positions: list[str] = []
    namespaces: list[tuple[str, ...]] = []
    nodes: list[tuple[str, ...]] = []
    for field in fields:
        name = field.name.value
        of_name = (
            Workload.PLANNING if name in _PLANNED
            else Workload.HISTORY if name in _PAST
            else Workload.LOOKUP if name in FROM_MEMORY
            else Workload.QUERY
        )  # fmt: skip
        of_past = _where_given(field, {"asOf"}, Workload.HISTORY, defaults, past)
        of_position = _where_given(field, _FROM_POSITION, Workload.CATCH_UP, defaults, positions)
        of_list = _of_list(field, namespaces) if name == "shards" else Workload.LOOKUP
        of_nodes = _of_nodes(field, defaults, nodes) if name == "shards" else Workload.LOOKUP
        stored = not _STORED.isdisjoint(names_below([field], fragments))
        of_selection = Workload.QUERY if stored else Workload.LOOKUP
        usual = max(usual, of_name, of_past, of_position, of_list, of_nodes, of_selection, key=_ORDER.index)
    # No variable makes it a lighter one.
    return Classification(
        usual,
        tuple(past) if _ORDER.index(usual) < _ORDER.index(Workload.HISTORY) else (),
        tuple(positions) if usual is Workload.LOOKUP else (),
        tuple(namespaces) if usual is Workload.LOOKUP else (),
        tuple(nodes) if usual.is_lookup else (),
    )


def _of_list(field: FieldNode, namespaces: list[tuple[str, ...]]) -> Workload:
    """CATCH_UP for a list of all namespaces; where a variable decides, that is added to `namespaces`."""
    value, path = _filtered_by("namespace", field)
    if path:
        namespaces.append(path)
    return Workload.CATCH_UP if _is_null(value) else Workload.LOOKUP


def _of_nodes(field: FieldNode, defaults: Mapping[str, ValueNode | None], nodes: list[tuple[str, ...]]) -> Workload:
    """QUERY for a list that depends on what nodes there are, which memory does not have; where a variable decides, that
    is added to `nodes`."""
    value, path = _filtered_by("orphaned", field)
    if not path or not _is_null(defaults.get(path[0])):
        return Workload.LOOKUP if _is_null(value) else Workload.QUERY
    nodes.append(path)
    return Workload.LOOKUP


def _filtered_by(name: str, field: FieldNode) -> tuple[ValueNode | None, tuple[str, ...]]:
    """The value of a member of the filter, or the variable that it is in; and that with the fields on the way into it,
    empty without one."""
    value = next((argument.value for argument in field.arguments or () if argument.name.value == "filter"), None)
    if isinstance(value, VariableNode):
        return value, (value.name.value, name)
    if isinstance(value, ObjectValueNode):
        value = next((each.value for each in value.fields if each.name.value == name), None)
        if isinstance(value, VariableNode):
            return value, (value.name.value,)
    return value, ()


def _where_given(
    field: FieldNode,
    arguments: AbstractSet[str],
    workload: Workload,
    defaults: Mapping[str, ValueNode | None],
    variables: list[str],
) -> Workload:
    """`workload` if one of these arguments has a value in any case; else of a lookup, with those of which a variable
    decides it added to `variables`."""
    for argument in field.arguments or ():
        value = argument.value
        if argument.name.value not in arguments or _is_null(value):
            continue
        if not isinstance(value, VariableNode) or not _is_null(defaults.get(value.name.value)):
            return workload
        variables.append(value.name.value)
    return Workload.LOOKUP


def _fragments(document: DocumentNode | None) -> dict[str, FragmentDefinitionNode]:
    nodes: Iterable[Any] = () if document is None else document.definitions
    return {node.name.value: node for node in nodes if isinstance(node, FragmentDefinitionNode)}


def _root_fields(selection_set: SelectionSetNode, fragments: dict[str, FragmentDefinitionNode]) -> Iterator[FieldNode]:
    """Each fragment is entered once, by which it ends also where they spread one another in a circle."""
    for selection in selection_set.selections:
        if isinstance(selection, FieldNode):
            yield selection
        elif isinstance(selection, InlineFragmentNode):
            yield from _root_fields(selection.selection_set, fragments)
        elif isinstance(selection, FragmentSpreadNode):
            fragment = fragments.pop(selection.name.value, None)
            if fragment is not None:
                yield from _root_fields(fragment.selection_set, fragments)


def _is_null(value: ValueNode | None) -> bool:
    return value is None or isinstance(value, NullValueNode)


def names_below(nodes: Iterable[SelectionNode], fragments: Mapping[str, FragmentDefinitionNode]) -> Iterator[str]:
    """The names of the fields below these, however deep; each fragment is entered once."""
    remaining, entered = list(nodes), set[str]()
    while remaining:
        node = remaining.pop()
        if isinstance(node, FragmentSpreadNode):
            name = node.name.value
            fragment = None if name in entered else fragments.get(name)
            entered.add(name)
            selected = None if fragment is None else fragment.selection_set
        else:
            selected = cast("FieldNode | InlineFragmentNode", node).selection_set
        below = () if selected is None else selected.selections
        yield from (each.name.value for each in below if isinstance(each, FieldNode))
        remaining += below
