"""Documents, read once: the text of an operation is parsed and validated when it is first seen, then remembered.

Clients send the same few documents for ever, and reading one costs more than answering a point lookup.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from graphql import DocumentNode, GraphQLError, parse
from strawberry.extensions import SchemaExtension
from strawberry.schema.schema import validate_document

from graph.codes import Code
from graph.errors import coded
from graph.limits import MAX_TOKENS, limit_problems

if TYPE_CHECKING:
    from strawberry.types import ExecutionContext

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
            if self._document.problems is None:
                self._document.problems = _validate(self.execution_context, self._document.node)
            self.execution_context.pre_execution_errors = list(self._document.problems)
        yield


def _validate(context: "ExecutionContext", document: DocumentNode) -> list[GraphQLError]:
    try:
        schema = context.schema._schema  # noqa: SLF001 - Strawberry's own validation takes it from there
        problems = limit_problems(document) or validate_document(schema, document, context.validation_rules)
    except RecursionError:
        problems = [GraphQLError("The document is nested too deeply.")]
    return [coded(problem, Code.VALIDATION_FAILED) for problem in problems]
