"""Documents, read once: the text of an operation is parsed and validated when it is first seen, then remembered.

Clients send the same few documents for ever, and reading one costs more than answering a point lookup.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from graphql import DocumentNode, GraphQLError, GraphQLSchema, parse, specified_rules
from strawberry.extensions import SchemaExtension
from strawberry.schema.schema import validate_document

from graph.codes import Code
from graph.errors import coded
from graph.limits import MAX_TOKENS, limit_problems

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
