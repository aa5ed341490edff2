"""Documents: parsed, validated and held against scopes once, then remembered.

Clients send the same few documents for ever, and reading one costs more than answering a point lookup. One that is not
known yet is read beside the event loop, in a thread that gives the interpreter back after 0.2 ms, one at a time:
`limits` has what it may be. Short ones have a thread of their own, so they do not wait for long ones, for which there
is half of the time.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from time import perf_counter, sleep, thread_time
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    execute_sync,
    get_operation_ast,
)

from graph.auth.principal import Principal, Scope
from graph.execution.authorization import Requirements, introspects_only
from graph.execution.cost import OperationCost, cost_of
from graph.execution.errors import Code, coded
from graph.execution.inputs import NotPrepared
from graph.execution.limits import MAX_CHARACTERS, field_count, go_on, parse_within_limits, problems_of
from graph.execution.operation_plan import Plan
from graph.execution.records import RecordBytes
from graph.execution.workload import Workload, classify
from persistence.errors import Overloaded

T = TypeVar("T")

_REMEMBERED: Final = 512

_NEW_BYTES: Final = 8 * 1024 * 1024
"""Of documents that came once."""

_REMEMBERED_BYTES: Final = 56 * 1024 * 1024
"""Of those that came again."""

_MET: Final = 4_096
"""Documents of which it is known that they came."""

_BYTES_A_TOKEN: Final = 560
"""Of a syntax tree with its tokens: 350 to 560 were measured."""

_BYTES_A_PLAN: Final = 16_384

_BYTES_A_GENERATED_CHARACTER: Final = 10
"""Of a plan's functions: 6 to 9 were measured."""

MOST_COMPILED_FIELDS: Final = 160
"""Of a document that is not trusted. Compiling takes 50 microseconds a field, on the event loop; what is larger
graph-core executes."""

_PACE_SECONDS: Final = 0.001

MOST_READING: Final = 128
"""Documents that wait to be read, or are, by one thread: each takes up to 0.1 s, a short one a millisecond or two."""

SHORT_CHARACTERS: Final = 4_096
"""Of a document that is read beside long ones, as those of frontend-queries are."""


@dataclass(slots=True, weakref_slot=True)
class Document:
    """A text that was parsed; `failure` is why it could not be, and its `node` is empty then. `problems` is null until
    it is validated; `scopes` are those that each operation needs, `costs` and `plans` those that were made, by its
    name: null for an operation that is not compiled. A trusted one is remembered for good, and counts toward no bound.
    """

    text: str
    node: DocumentNode
    parsed_bytes: int = 0
    is_trusted: bool = False
    failure: GraphQLError | None = None
    counted_bytes: int = 0
    counted_size: int = -1
    uses: int = 0
    """Of one that is new, since it was read: the request that it was read for may be the first of them."""
    problems: list[GraphQLError] | None = None
    fields: int = 0
    introspects: bool = False
    """Whether it selects nothing but the schema."""
    scopes: dict[str | None, frozenset[Scope]] = field(default_factory=dict)
    costs: dict[str | None, OperationCost] = field(default_factory=dict)
    plans: dict[str | None, Plan | None] = field(default_factory=dict)
    cursors: dict[str | None, frozenset[str]] = field(default_factory=dict)
    """Of subscriptions: variables that are where to resume, and nothing else."""

    def bytes(self) -> int:
        """What it takes in memory with its plans, about. It grows with the variants of these."""
        plans = [plan.size for plan in set(self.plans.values()) if plan is not None]
        return self.parsed_bytes + len(plans) * _BYTES_A_PLAN + sum(plans) * _BYTES_A_GENERATED_CHARACTER

    def release(self) -> None:
        """It is forgotten: its plans keep no bytes of records."""
        for plan in set(self.plans.values()):
            if plan is not None:
                plan.release()


class _Segment:
    """Documents in the order in which they were last used: as many as there is room for."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self.documents: OrderedDict[str, Document] = OrderedDict()
        """By their text."""
        self.bytes = 0

    def add(self, document: Document) -> None:
        self.documents[document.text] = document
        self.count(document)

    def count(self, document: Document) -> None:
        """The bytes that it takes anew, if it is here; and forget the oldest ones for which there is no room."""
        if self.documents.get(document.text) is not document:
            return
        self.bytes += document.bytes() - document.counted_bytes
        document.counted_bytes = document.bytes()
        while len(self.documents) > self._most or self.bytes > self._most_bytes:
            _, oldest = self.documents.popitem(last=False)
            self.bytes -= oldest.counted_bytes
            oldest.counted_bytes = 0
            oldest.release()

    def remove(self, text: str) -> Document | None:
        document = self.documents.pop(text, None)
        if document is not None:
            self.bytes -= document.counted_bytes
            document.counted_bytes = 0
        return document


class _Pace:
    """Has a thread sleep for a millisecond after each that it computed."""

    def __init__(self) -> None:
        self._since = thread_time()
        self.slept = 0.0

    def __call__(self) -> None:
        if thread_time() - self._since >= _PACE_SECONDS:
            sleep(_PACE_SECONDS)
            self.slept += _PACE_SECONDS
            self._since = thread_time()


class _Reader:
    """A thread that reads documents, and those that it has been given and has not read. `rests`: of a processor's time
    it takes half. While it computes, each thing that the event loop does may wait for the interpreter for 0.2 ms, so it
    pauses again and again, and what was left of that it rests in the end."""

    def __init__(self, name: str, *, rests: bool) -> None:
        self.thread = ThreadPoolExecutor(1, name)
        self.reading: dict[str, Future[Document]] = {}
        self._rests = rests
        self._resting_until = 0.0
        self._pace = _Pace()

    def run(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        return self.thread.submit(self._work, partial(work, *arguments))

    def _work(self, work: Callable[[], T]) -> T:
        rest = self._resting_until - perf_counter()
        if rest > 0.0:
            sleep(rest)
        began = thread_time()
        self._pace = _Pace()
        try:
            return work()
        finally:
            left = thread_time() - began - self._pace.slept
            self._resting_until = perf_counter() + left if self._rests else 0.0

    def pause(self) -> None:
        """To be called by what it runs, again and again."""
        if self._rests:
            self._pace()


class DocumentCache:
    """The newest documents of one schema, 64 MiB in all; beside them those that a request holds, and all that are
    trusted. Those that came once have 8 MiB of these: any number of others that never come again displaces none that
    did (a segmented LRU)."""

    def __init__(self, characters: int = MAX_CHARACTERS) -> None:
        self.characters = characters
        """Of a document, at most; ten times as many of one that is trusted."""
        self._trust_required = False
        # Null for one that has not been used yet.
        self._trusted: dict[str, Document | None] = {}
        self._new = _Segment(_REMEMBERED, _NEW_BYTES)
        self._proven = _Segment(_REMEMBERED, _REMEMBERED_BYTES)
        # What is being executed is not read again, however many others were read meanwhile.
        self._held: WeakValueDictionary[str, Document] = WeakValueDictionary()
        self._met: OrderedDict[int, None] = OrderedDict()
        """Hashes of those that were read, in the order in which they were last."""
        self.records = RecordBytes()
        """What plans keep of records, beside the 64 MiB of documents."""
        self._schema = GraphQLSchema()
        self._requirements = Requirements(self._schema)
        self._of_short = _Reader("omnirelay-documents", rests=False)
        self._of_long = _Reader("omnirelay-long-documents", rests=True)

    @property
    def remembered_bytes(self) -> int:
        """Of the documents that are remembered, estimated; without trusted ones."""
        return self._new.bytes + self._proven.bytes

    def bind(self, schema: GraphQLSchema, requirements: Requirements) -> None:
        """To be called before anything is validated. The schema's extensions are made before the schema is."""
        self._schema, self._requirements = schema, requirements

    def to_read(self, text: str) -> int:
        """How many characters of it would have to be parsed and validated first."""
        is_known = text in self._trusted or len(text) > self.characters or self._remembered(text) is not None
        return 0 if is_known else len(text)

    async def read(self, text: str, operation_name: str | None = None) -> Document:
        """The document, parsed, validated and the cost of its operation made beside the event loop, unless it is known.
        It is remembered while it is held. Raises Overloaded, where too many are being read."""
        document = self._trusted.get(text) or self._used(text) or self._held.get(text)
        if document is None and len(text) <= self.characters:
            document = await self._read(text, operation_name)
        elif document is None:
            document = self._document(text)
        if document.problems is None:
            self.problems(document)
        return document

    async def _read(self, text: str, operation_name: str | None) -> Document:
        reader = self._of_short if len(text) <= SHORT_CHARACTERS else self._of_long
        reading = reader.reading.get(text)
        if reading is None:
            if len(reader.reading) >= MOST_READING:
                raise Overloaded(
                    f"{len(reader.reading):,} documents that the server does not know wait to be read. Nothing was "
                    "written. Try again shortly, or send documents that it knows.",
                    1.0,
                )
            is_trusted = text in self._trusted
            reading = reader.run(self._validated, text, operation_name, is_trusted, reader.pause)
            reader.reading[text] = reading
            reading.add_done_callback(lambda _: reader.reading.pop(text, None))
        # Others may wait for it, too: a client that leaves takes nothing from them.
        document = await asyncio.shield(asyncio.wrap_future(reading))
        return self._trusted.get(text) or self._remembered(text) or self._adopt(document)

    async def introspected(
        self, document: Document, variables: Mapping[str, Any] | None, operation_name: str | None
    ) -> ExecutionResult:
        """What the schema answers to a valid document that selects nothing else: beside the event loop, for all of it
        takes 30 ms."""
        execute = partial(execute_sync, variable_values=dict(variables or {}), operation_name=operation_name)
        return await asyncio.wrap_future(self._of_long.run(execute, self._schema, document.node))

    def _validated(
        self,
        text: str,
        operation_name: str | None,
        is_trusted: bool,  # noqa: FBT001 - of one call
        pause: Callable[[], None],
    ) -> Document:
        """In the thread: nothing is read or written of what the event loop changes."""
        document = self._parsed(text, is_trusted=is_trusted, pause=pause)
        problems = self.problems(document, pause)
        operation = None if problems else get_operation_ast(document.node, operation_name)
        if operation is not None:
            document.costs[operation_name] = cost_of(self._schema, document.node, operation)
        return document

    def _parsed(self, text: str, *, is_trusted: bool, pause: Callable[[], None] = go_on) -> Document:
        try:
            node = parse_within_limits(text, self.characters, is_trusted=is_trusted, pause=pause)
        except GraphQLError as error:
            failure = coded(error, (error.extensions or {}).get("code", Code.PARSE_FAILED))
            return Document(text, DocumentNode(definitions=()), len(text) * 4, is_trusted, failure, problems=[failure])
        return Document(text, node, len(text) * 4 + node.token_count * _BYTES_A_TOKEN, is_trusted)

    def _adopt(self, document: Document) -> Document:
        """Remember it, for as long as a request holds it at least."""
        text = document.text
        document.is_trusted = text in self._trusted
        if document.is_trusted:
            self._trusted[text] = document
        elif len(text) <= self.characters:
            self._held[text] = document
            (self._proven if self._has_met(text) else self._new).add(document)
        return document

    def _has_met(self, text: str) -> bool:
        """Whether it was read before, and forgotten."""
        key = hash(text)
        has_met = key in self._met
        self._met[key] = None
        self._met.move_to_end(key)
        if len(self._met) > _MET:
            self._met.popitem(last=False)
        return has_met

    def _remembered(self, text: str) -> Document | None:
        return self._proven.documents.get(text) or self._new.documents.get(text)

    def _used(self, text: str) -> Document | None:
        """One that is remembered, for a request: with the second one after it was read it is known to come again."""
        document = self._proven.documents.get(text)
        if document is not None:
            self._proven.documents.move_to_end(text)
            return document
        document = self._new.documents.get(text)
        if document is not None:
            document.uses += 1
            if document.uses > 1:
                self._new.remove(text)
                self._proven.add(document)
        return document

    def _document(self, text: str) -> Document:
        """The document, parsed here and now unless it is known."""
        document = self._trusted.get(text) or self._remembered(text) or self._held.get(text)
        return document or self._adopt(self._parsed(text, is_trusted=text in self._trusted))

    def parsed(self, text: str) -> Document:
        """Raises GraphQLError, also for a document that is too long or nested too deeply to be parsed."""
        document = self._document(text)
        if document.failure is not None:
            # A new one, for what is raised holds what raised it.
            raise coded(document.failure, Code.PARSE_FAILED)
        return document

    def trust(self, texts: AbstractSet[str], *, required: bool = False) -> None:
        """From now on these documents, and no others, are remembered for good. Sent as text or named by an id, one is
        the same Document. Where that is `required`, no other has plans: none is executed before its trust was looked
        at."""
        self._trust_required = required
        for text in self._trusted.keys() - texts:
            document = self._trusted.pop(text)
            if document is not None:
                self._adopt(document)
        for text in texts - self._trusted.keys():
            document = self._proven.remove(text) or self._new.remove(text)
            # What was too long may be as long as this now.
            trusted = None if document is None or document.failure is not None else document
            if trusted is not None:
                trusted.is_trusted = True
            self._trusted[text] = trusted

    def problems_of(self, text: str) -> list[GraphQLError]:
        """What keeps this from being a valid document of the schema."""
        return self.problems(self._document(text))

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
        document = self._document(text)
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
            for segment in (self._proven, self._new):
                segment.count(document)
        return plan

    def introspecting(self, text: str | None, name: str | None, principal: Principal) -> Document | None:
        """The document of an operation that the caller may execute and that selects nothing but the schema; null for
        any other."""
        document = self.valid(text or "")
        if document is None or not document.introspects or self.operation(text, name) is None:
            return None
        return None if self.forbidden(document, name, principal) is not None else document

    def operation(self, text: str | None, name: str | None) -> OperationDefinitionNode | None:
        """What executing this would execute; null for none, and for a text that cannot be parsed."""
        return get_operation_ast(self._document(text or "").node, name)

    def workload(self, text: str | None, name: str | None, variables: Mapping[str, Any] | None) -> Workload:
        """That of what executing this would execute; of a lookup where there is no such operation, or the document is
        not valid. What is refused may have thousands of fields that nothing has counted."""
        document = self._document(text or "")
        if self.problems(document):
            return Workload.LOOKUP
        cost = document.costs.get(name)
        if cost is not None:
            return cost.classification.of(variables or {})
        return classify(get_operation_ast(document.node, name), document.node).of(variables or {})

    def problems(self, document: Document, pause: Callable[[], None] = go_on) -> list[GraphQLError]:
        if document.problems is None:
            node = document.node
            problems = problems_of(self._schema, node, len(document.text), is_trusted=document.is_trusted, pause=pause)
            if not problems:
                document.fields = field_count(node)
                document.introspects = introspects_only(node)
            document.problems = problems
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

    def cost(self, document: Document, operation_name: str | None, principal: Principal) -> OperationCost | None:
        """Of an operation that the caller may execute; null for what is not valid, or forbidden."""
        operation = None if self.problems(document) else get_operation_ast(document.node, operation_name)
        if operation is None or self.forbidden(document, operation_name, principal) is not None:
            return None
        cost = document.costs.get(operation_name)
        if cost is None:
            cost = document.costs[operation_name] = cost_of(self._schema, document.node, operation)
        return cost

    def _first_used(self, text: str) -> Document | None:
        """A document that is not trusted, and known already; or one that is, and is not known yet."""
        if text in self._trusted:
            return self.valid(text)
        return None if self._trust_required else self._used(text) or self._held.get(text)

    def _compiled(self, document: Document, operation: OperationDefinitionNode) -> Plan | None:
        """Its plan: the same whether a request names the operation or not. Null for one that is not compiled."""
        name = None if operation.name is None else operation.name.value
        if name not in document.plans:
            document.plans[name] = None
            if document.is_trusted or document.fields <= MOST_COMPILED_FIELDS:
                with suppress(NotPrepared):
                    document.plans[name] = Plan(self._schema, document.node, name, self.records)
        return document.plans[name]
