"""Documents: parsed, validated and held against scopes once, then remembered; and what every execution of one passes.

Clients send the same few documents for ever, and reading one costs more than answering a point lookup. The limits are
generous for people and programs, and bound what a document made to exhaust the server can cost. Many shards are read by
a list and changed through variables: neither makes a document longer.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from time import perf_counter
from typing import Any, Final

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
    get_operation_ast,
    parse,
    specified_rules,
)
from strawberry.extensions import SchemaExtension
from strawberry.schema.schema import validate_document
from strawberry.types.graphql import OperationType

from graph.auth.principal import Principal, Scope
from graph.execution.authorization import Requirements
from graph.execution.context import Context
from graph.execution.errors import Code, coded
from graph.execution.inputs import NotPrepared
from graph.execution.metrics import UNREADABLE, Metrics, Outcome
from graph.execution.outcomes import current_record
from graph.execution.prepared import Plan
from graph.execution.records import RecordBytes
from graph.execution.workload import Workload, classify

MAX_TOKENS: Final = 5_000

MAX_DEPTH: Final = 32

MAX_ALIASES: Final = 200

MAX_FIELDS: Final = 2_000

_REMEMBERED: Final = 512

_LONGEST_REMEMBERED: Final = 65_536

_REMEMBERED_BYTES: Final = 64 * 1024 * 1024

_BYTES_A_TOKEN: Final = 560
"""Of a syntax tree with its tokens: 350 to 560 were measured."""

_BYTES_A_PLAN: Final = 16_384

_BYTES_A_GENERATED_CHARACTER: Final = 10
"""Of a plan's functions: 6 to 9 were measured."""


@dataclass(slots=True)
class Document:
    """A text that could be parsed. `problems` is null until it is validated; `scopes` are those that each operation
    needs, `plans` those that were made, by its name: null for an operation that is not compiled. A trusted one is
    remembered for good, and counts toward no bound."""

    node: DocumentNode
    parsed_bytes: int = 0
    is_trusted: bool = False
    counted_bytes: int = 0
    counted_size: int = -1
    problems: list[GraphQLError] | None = None
    scopes: dict[str | None, frozenset[Scope]] = field(default_factory=dict)
    plans: dict[str | None, Plan | None] = field(default_factory=dict)

    def bytes(self) -> int:
        """What it takes in memory with its plans, about. It grows with the variants of these."""
        plans = [plan.size for plan in set(self.plans.values()) if plan is not None]
        return self.parsed_bytes + len(plans) * _BYTES_A_PLAN + sum(plans) * _BYTES_A_GENERATED_CHARACTER

    def release(self) -> None:
        """It is forgotten: its plans keep no bytes of records."""
        for plan in set(self.plans.values()):
            if plan is not None:
                plan.release()


class DocumentCache:
    """The newest documents of one schema, at most 512, of at most 65,536 characters each, 64 MiB in all; and beside
    them all that are trusted."""

    def __init__(self) -> None:
        self._trust_required = False
        # Null for one that has not been used yet.
        self._trusted: dict[str, Document | None] = {}
        self._documents: OrderedDict[str, Document] = OrderedDict()
        self._bytes = 0
        self.records = RecordBytes()
        """What plans keep of records, beside the 64 MiB of documents."""
        self._schema = GraphQLSchema()
        self._requirements = Requirements(self._schema)

    def bind(self, schema: GraphQLSchema, requirements: Requirements) -> None:
        """To be called before anything is validated. The schema's extensions are made before the schema is."""
        self._schema, self._requirements = schema, requirements

    def parsed(self, text: str) -> Document:
        """Raises GraphQLSyntaxError, also for a document that is too long or nested too deeply to be parsed."""
        document = self._trusted.get(text) or self._documents.get(text)
        if document is None:
            node = parse(text, max_tokens=MAX_TOKENS)
            document = Document(node, len(text) * 4 + node.token_count * _BYTES_A_TOKEN, text in self._trusted)
            if document.is_trusted:
                self._trusted[text] = document
            else:
                self._remember(text, document)
        elif not document.is_trusted:
            self._documents.move_to_end(text)
        return document

    def trust(self, texts: AbstractSet[str], *, required: bool = False) -> None:
        """From now on these documents, and no others, are remembered for good. Sent as text or named by an id, one is
        the same Document. Where that is `required`, no other has plans: none is executed before its trust was looked
        at."""
        self._trust_required = required
        for text in self._trusted.keys() - texts:
            document = self._trusted.pop(text)
            if document is not None:
                document.is_trusted = False
                self._remember(text, document)
        for text in texts - self._trusted.keys():
            document = self._documents.pop(text, None)
            if document is not None:
                document.is_trusted = True
                self._bytes -= document.counted_bytes
                document.counted_bytes = 0
            self._trusted[text] = document

    def problems_of(self, text: str) -> list[GraphQLError]:
        """What keeps this from being a valid document of the schema."""
        try:
            return self.problems(self.parsed(text))
        except GraphQLError as error:
            return [error]

    def prepare(self, text: str) -> None:
        """Validate a document and compile its operations, so that their first use need not."""
        document = self.valid(text)
        if document is None:
            return
        for operation in document.node.definitions:
            plan = self._compiled(document, operation) if isinstance(operation, OperationDefinitionNode) else None
            if plan is not None:
                for booleans in product((False, True), repeat=plan.conditions):
                    with suppress(NotPrepared):
                        plan.compile(*booleans)

    def valid(self, text: str) -> Document | None:
        """Null for a text that is no valid document of the schema; executing it returns why."""
        try:
            document = self.parsed(text)
        except GraphQLError:
            return None
        return None if self.problems(document) else document

    def plan(self, text: str | None, operation_name: str | None, principal: Principal) -> Plan | None:
        """The plan of an operation that the caller may execute, of a document that is known to be valid: so from the
        second time on, of a trusted one from the first. Null where there is none to be had. Raises NotPrepared for an
        operation that is not compiled."""
        document = self._trusted.get(text or "")
        if document is None:
            document = self._first_used(text or "")
        if document is None or document.problems is None or document.problems:
            return None
        if operation_name not in document.plans:
            operation = get_operation_ast(document.node, operation_name)
            if operation is None:
                return None
            document.plans[operation_name] = self._compiled(document, operation)
        if self.forbidden(document, operation_name, principal) is not None:
            return None
        plan = document.plans[operation_name]
        if plan is None:
            raise NotPrepared(operation_name)
        if not document.is_trusted and plan.size != document.counted_size:
            # It has variants that were not counted yet, or the last one counted was of another operation.
            document.counted_size = plan.size
            self._count(document)
        return plan

    def operation(self, text: str | None, name: str | None) -> OperationDefinitionNode | None:
        """What executing this would execute; null for none, and for a text that cannot be parsed."""
        try:
            return get_operation_ast(self.parsed(text or "").node, name)
        except GraphQLError:
            return None

    def workload(self, text: str | None, name: str | None, variables: Mapping[str, Any] | None) -> Workload:
        """That of what executing this would execute; of a lookup where there is no such operation."""
        try:
            document = self.parsed(text or "").node
        except GraphQLError:
            return Workload.LOOKUP
        return classify(get_operation_ast(document, name), document).of(variables or {})

    def problems(self, document: Document) -> list[GraphQLError]:
        if document.problems is None:
            document.problems = _validate(self._schema, document.node)
        return document.problems

    def forbidden(self, document: Document, operation_name: str | None, principal: Principal) -> GraphQLError | None:
        """Why this caller may not execute that operation of a valid document; null if it may, or if there is none."""
        scopes = document.scopes.get(operation_name)
        if scopes is not None and scopes <= principal.scopes:
            return None
        operation = get_operation_ast(document.node, operation_name)
        if operation is None:
            return None
        document.scopes[operation_name] = self._requirements.scopes(document.node, operation)
        return self._requirements.problem(document.node, operation, principal)

    def _first_used(self, text: str) -> Document | None:
        """A document that is not trusted, and known already; or one that is, and is not known yet."""
        if text in self._trusted:
            return self.valid(text)
        document = None if self._trust_required else self._documents.get(text)
        if document is not None:
            self._documents.move_to_end(text)
        return document

    def _compiled(self, document: Document, operation: OperationDefinitionNode) -> Plan | None:
        """Its plan: the same whether a request names the operation or not. Null for one that is not compiled."""
        name = None if operation.name is None else operation.name.value
        if name not in document.plans:
            document.plans[name] = None
            with suppress(NotPrepared):
                document.plans[name] = Plan(self._schema, document.node, name, self.records)
        return document.plans[name]

    def _remember(self, text: str, document: Document) -> None:
        if len(text) <= _LONGEST_REMEMBERED:
            self._documents[text] = document
            self._count(document)

    def _count(self, document: Document) -> None:
        """Count the bytes of a remembered document anew, and forget the oldest ones for which there is no room."""
        self._bytes += document.bytes() - document.counted_bytes
        document.counted_bytes = document.bytes()
        while len(self._documents) > _REMEMBERED or self._bytes > _REMEMBERED_BYTES:
            _, oldest = self._documents.popitem(last=False)
            self._bytes -= oldest.counted_bytes
            oldest.release()


class Execution(SchemaExtension):
    """What is done around the execution of each operation: it is parsed and validated through the cache, held against
    the scopes of its caller, counted and timed. One instance an operation, as Strawberry requires."""

    def __init__(self, documents: DocumentCache, metrics: Metrics | None = None) -> None:
        self._documents = documents
        self._metrics = metrics
        self._document: Document | None = None
        self._is_streaming = False

    def on_operation(self) -> Iterator[None]:
        context = self.execution_context.context
        recorded = context.recorded if isinstance(context, Context) else None
        started = perf_counter() if recorded is None else recorded.started
        outcome: Outcome = "ok"
        try:
            yield
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except Exception:
            outcome = "errors"
            raise
        finally:
            if self.execution_context.pre_execution_errors:
                outcome = "errors"
            elif outcome == "ok" and (record := current_record()) is not None:
                outcome = record.outcome
            try:
                kind = self.execution_context.operation_type.value
            except RuntimeError:  # no document, or no operation of that name in it
                kind = UNREADABLE
            if self._metrics is not None:
                if self._is_streaming:
                    self._metrics.subscriptions.dec()
                self._metrics.ended(kind, outcome, perf_counter() - started)

    def on_parse(self) -> Iterator[None]:
        execution = self.execution_context
        execution.parse_options = {"max_tokens": MAX_TOKENS}
        try:
            self._document = self._documents.parsed(execution.query or "")
        except GraphQLError:
            # Strawberry parses what has not been parsed, and reports the same error where each transport expects it;
            # raised from here it would end a WebSocket operation without an answer.
            pass
        else:
            execution.graphql_document = self._document.node
        yield

    def on_validate(self) -> Iterator[None]:
        document, execution = self._document, self.execution_context
        if document is not None:
            execution.pre_execution_errors = list(self._documents.problems(document))
            if not execution.pre_execution_errors and isinstance(execution.context, Context):
                name, principal = execution.operation_name, execution.context.principal
                forbidden = self._documents.forbidden(document, name, principal)
                if forbidden is not None:
                    execution.pre_execution_errors = [forbidden]
        yield

    def on_execute(self) -> Iterator[None]:
        if self._metrics is not None and self.execution_context.operation_type is OperationType.SUBSCRIPTION:
            self._is_streaming = True
            self._metrics.subscriptions.inc()
        yield


def _validate(schema: GraphQLSchema, document: DocumentNode) -> list[GraphQLError]:
    try:
        problems = limit_problems(document) or validate_document(schema, document, specified_rules)
    except RecursionError:
        problems = [GraphQLError("The document is nested too deeply.")]
    return [coded(problem, Code.VALIDATION_FAILED) for problem in problems]


@dataclass(frozen=True, slots=True)
class _Size:
    """Of a selection with its fragments spread out: how deep it nests, how many aliases and fields it comes to."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0

    def beside(self, other: "_Size") -> "_Size":
        return _Size(max(self.depth, other.depth), self.aliases + other.aliases, self.fields + other.fields)


def limit_problems(document: DocumentNode) -> list[GraphQLError]:
    """The limits that a document exceeds. Checked before the rules of validation: some are not linear in its size."""
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
            self._measured[name] = _Size()  # a fragment that spreads itself is refused by another rule
            if name in self._fragments:
                self._measured[name] = self.of(self._fragments[name].selection_set)
        return self._measured[name]
