"""Which fields a document selects below the one that is being resolved."""

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar, cast
from weakref import ref

from graphql import FieldNode, FragmentDefinitionNode, FragmentSpreadNode, InlineFragmentNode, SelectionSetNode

from graph.execution.context import Info
from graph.execution.operation_plan import PlannedInfo

T = TypeVar("T")


class OfSelection(Generic[T]):
    """What follows from the fields that are selected, found once for each field of a document.

    `find` is given them as paths, such as `nodes.change.id`, under any alias and in any fragment. What `@skip` and
    `@include` leave out is among them: it is one document, whatever its variables.
    """

    def __init__(self, find: Callable[[frozenset[str]], T]) -> None:
        self._find = find
        # By the nodes of the field, which live as long as their document is remembered.
        self._found: dict[tuple[int, ...], tuple[ref[FieldNode], T]] = {}

    def __call__(self, info: Info) -> T:
        nodes = info.nodes if isinstance(info, PlannedInfo) else info._raw_info.field_nodes  # noqa: SLF001 - as below
        key = tuple(map(id, nodes))
        known = self._found.get(key)
        if known is not None:
            return known[1]
        raw = info._raw_info  # noqa: SLF001 - `selected_fields` converts the document as a whole, each time
        paths = [path for node in nodes for path in _paths("", node.selection_set, raw.fragments)]
        found = self._find(frozenset(paths))
        self._found[key] = ref(nodes[0], lambda _: self._found.pop(key, None)), found
        return found


def _paths(
    prefix: str, selections: SelectionSetNode | None, fragments: Mapping[str, FragmentDefinitionNode]
) -> Iterator[str]:
    for node in () if selections is None else selections.selections:
        if isinstance(node, FieldNode):
            path = f"{prefix}{node.name.value}"
            yield path
            yield from _paths(f"{path}.", node.selection_set, fragments)
        elif isinstance(node, FragmentSpreadNode):
            yield from _paths(prefix, fragments[node.name.value].selection_set, fragments)
        else:
            yield from _paths(prefix, cast("InlineFragmentNode", node).selection_set, fragments)
