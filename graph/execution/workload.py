"""What an operation costs, as far as its document shows: that is what admission control tells operations apart by."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple

from graphql import FieldNode, NullValueNode, OperationDefinitionNode, OperationType, ValueNode, VariableNode

FROM_MEMORY: Final = frozenset({"shard", "shards", "shardsByKey", "__typename"})


class Workload(StrEnum):
    """A turn of the event loop, a connection for a while, or a commit."""

    LOOKUP = "lookup"
    QUERY = "query"
    MUTATION = "mutation"


class Classification(NamedTuple):
    """`usual`, but a query where a variable of `past` has a value: those name a moment of the past."""

    usual: Workload
    past: tuple[str, ...] = ()

    def of(self, variables: Mapping[str, Any]) -> Workload:
        """With the variables as they came."""
        for name in self.past:
            if variables.get(name) is not None:
                return Workload.QUERY
        return self.usual


def classify(operation: OperationDefinitionNode | None) -> Classification:
    """A lookup selects nothing but shards as they are now, which are answered from memory, and by their own names.

    A subscription is opened like a lookup, and what cannot be executed is answered like one.
    """
    if operation is None or operation.operation is OperationType.SUBSCRIPTION:
        return Classification(Workload.LOOKUP)
    if operation.operation is OperationType.MUTATION:
        return Classification(Workload.MUTATION)
    defaults = {each.variable.name.value: each.default_value for each in operation.variable_definitions or ()}
    past: list[str] = []
    for selection in operation.selection_set.selections:
        if not isinstance(selection, FieldNode) or selection.name.value not in FROM_MEMORY:
            return Classification(Workload.QUERY)
        for argument in selection.arguments or ():
            if argument.name.value != "asOf" or _is_null(argument.value):
                continue
            if not isinstance(argument.value, VariableNode) or not _is_null(defaults.get(argument.value.name.value)):
                return Classification(Workload.QUERY)
            past.append(argument.value.name.value)
    return Classification(Workload.LOOKUP, tuple(past))


def _is_null(value: ValueNode | None) -> bool:
    return value is None or isinstance(value, NullValueNode)
