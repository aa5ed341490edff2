"""How large a document may be. Generous for people and programs, a wall for documents made to exhaust the server.

Many shards are asked for by a list and changed through variables; neither makes a document longer.
"""

from dataclasses import dataclass
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
)

MAX_TOKENS: Final = 5_000
MAX_DEPTH: Final = 32
MAX_ALIASES: Final = 200
MAX_FIELDS: Final = 2_000


@dataclass(frozen=True, slots=True)
class _Size:
    """Of a selection with its fragments spread out: how deep it nests, how many aliases and fields it comes to."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0

    def beside(self, other: "_Size") -> "_Size":
        return _Size(max(self.depth, other.depth), self.aliases + other.aliases, self.fields + other.fields)


def limit_problems(document: DocumentNode) -> list[GraphQLError]:
    """What is too much about a document, for the rules of validation are not all linear in its size."""
    sizes = _Sizes(document)
    total = _Size()
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            total = total.beside(sizes.of(definition.selection_set))
    return [
        GraphQLError(f"The document {what}; at most {limit:,} are allowed.")
        for what, actual, limit in (
            (f"nests {total.depth:,} levels deep", total.depth, MAX_DEPTH),
            (f"has {total.aliases:,} aliases, with its fragments spread out", total.aliases, MAX_ALIASES),
            (f"selects {total.fields:,} fields, with its fragments spread out", total.fields, MAX_FIELDS),
        )
        if actual > limit
    ]


class _Sizes:
    """Sizes of the selections of one document; every fragment is measured once, however often it is spread."""

    def __init__(self, document: DocumentNode) -> None:
        self._fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        self._measured: dict[str, _Size] = {}

    def of(self, selection_set: SelectionSetNode | None) -> _Size:
        size = _Size()
        for selection in selection_set.selections if selection_set else ():
            size = size.beside(self._selection(selection))
        return size

    def _selection(self, selection: SelectionNode) -> _Size:
        match selection:
            case FieldNode():
                inner = self.of(selection.selection_set)
                alias = 0 if selection.alias is None else 1
                return _Size(inner.depth + 1, inner.aliases + alias, inner.fields + 1)
            case InlineFragmentNode():
                inner = self.of(selection.selection_set)
            case FragmentSpreadNode():
                inner = self._fragment(selection.name.value)
            case _:
                raise TypeError(f"no such selection: {selection.kind}")
        return _Size(inner.depth + 1, inner.aliases, inner.fields)

    def _fragment(self, name: str) -> _Size:
        if name not in self._measured:
            self._measured[name] = _Size()  # a fragment that spreads itself is another rule's to refuse
            if name in self._fragments:
                self._measured[name] = self.of(self._fragments[name].selection_set)
        return self._measured[name]
