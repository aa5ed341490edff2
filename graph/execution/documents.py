"""Documents, read once: the text of an operation is parsed and validated when it is first seen, then remembered.

Clients send the same few documents for ever, and reading one costs more than answering a point lookup.

How large a document may be. Generous for people and programs, a wall for documents made to exhaust the server.

Many shards are asked for by a list and changed through variables; neither makes a document longer.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    parse,
    specified_rules,
)
from strawberry.extensions import SchemaExtension
from strawberry.schema.schema import validate_document

from graph.execution.errors import Code, coded

_REMEMBERED: Final = 512

_LONGEST_REMEMBERED: Final = 65_536


@dataclass(slots=True)
class _Document:
    node: DocumentNode
    problems: list[GraphQLError] | None = None


class DocumentCache:
    """The newest documents of one schema, at most 512, of at most 65,536 characters each."""

    def __init__(self) -> None:
        self._documents: OrderedDict[str, _Document] = OrderedDict()

    def parsed(self, text: str) -> _Document:
        """Raises GraphQLSyntaxError, also for a document that is too long or nested too deeply to be parsed."""
        document = self._documents.get(text)
        if document is None:
            document = _Document(parse(text, max_tokens=MAX_TOKENS))
            self._remember(text, document)
        else:
            self._documents.move_to_end(text)
        return document

    def valid(self, text: str, schema: GraphQLSchema) -> DocumentNode | None:
        """The document, or null if it cannot be parsed or is not valid."""
        try:
            document = self.parsed(text)
        except GraphQLError:
            return None
        return None if self.problems(document, schema) else document.node

    def problems(self, document: _Document, schema: GraphQLSchema) -> list[GraphQLError]:
        """What is wrong with a document, worked out when it is first asked for."""
        if document.problems is None:
            document.problems = _validate(schema, document.node)
        return document.problems

    def _remember(self, text: str, document: _Document) -> None:
        if len(text) <= _LONGEST_REMEMBERED:
            self._documents[text] = document
            if len(self._documents) > _REMEMBERED:
                self._documents.popitem(last=False)


class ReadDocument(SchemaExtension):
    """Parses and validates through the cache. One per operation, as Strawberry wants it."""

    def __init__(self, cache: DocumentCache) -> None:
        self._cache = cache
        self._document: _Document | None = None

    @staticmethod
    def through(cache: DocumentCache) -> Callable[[], SchemaExtension]:
        return lambda: ReadDocument(cache)

    def on_parse(self) -> Iterator[None]:
        context = self.execution_context
        context.parse_options = {"max_tokens": MAX_TOKENS}
        try:
            self._document = self._cache.parsed(context.query or "")
        except GraphQLError:
            # Strawberry parses what has not been parsed, and reports the same error where each transport expects it;
            # raised from here it would end a WebSocket operation without an answer.
            pass
        else:
            context.graphql_document = self._document.node
        yield

    def on_validate(self) -> Iterator[None]:
        if self._document is not None:
            schema = self.execution_context.schema._schema  # noqa: SLF001 - Strawberry's own validation takes it there
            self.execution_context.pre_execution_errors = list(self._cache.problems(self._document, schema))
        yield


def _validate(schema: GraphQLSchema, document: DocumentNode) -> list[GraphQLError]:
    try:
        problems = limit_problems(document) or validate_document(schema, document, specified_rules)
    except RecursionError:
        problems = [GraphQLError("The document is nested too deeply.")]
    return [coded(problem, Code.VALIDATION_FAILED) for problem in problems]


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
