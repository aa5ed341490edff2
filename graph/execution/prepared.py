"""Prepared operations: an operation of a valid document is compiled once, into a plan from its variables to its answer.

What graphql-core and Strawberry do anew for each request although it depends on the document alone, a plan has behind
it: selections are collected and compiled to functions (`selections`), variables and arguments coerced by functions of
their types (`inputs`), resolvers called directly. A plan answers what is right. For the rest there is one authority,
graphql-core: where the variables are not taken for granted it executes the operation before a resolver was called;
where a resolver raises, or a value is not as the schema has it, it completes what the root resolvers gave, which is
recorded. So no resolver of a root field, and no mutation, is called twice. docs/decisions/0029-prepared-operations.md.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Any, Final, Protocol, cast

import strawberry
from graphql import (
    DirectiveNode,
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLResolveInfo,
    GraphQLSchema,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    get_operation_ast,
    visit,
)
from graphql import ExecutionResult as GraphQLResult
from graphql.execution.values import VariableValues
from graphql.pyutils import Path, is_awaitable
from strawberry.schema.schema import StreamResult
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from graph.auth.principal import Principal
from graph.execution.context import Context, Info, Outcome, Recorded
from graph.execution.cost import cost_of
from graph.execution.encoding import decoded
from graph.execution.errors import publish
from graph.execution.inputs import InputCompiler, NotPrepared
from graph.execution.metrics import UNREADABLE, Metrics
from graph.execution.metrics import Outcome as Ending
from graph.execution.outcomes import current_record
from graph.execution.records import RecordBytes, SelectionBytes
from graph.execution.selections import CalledField, Complete, RootField, SelectionCompiler
from graph.execution.slices import Slices
from graph.execution.workload import classify

_CONDITIONS: Final = 4
"""Variables of `@skip` and `@include` in an operation: each tuple of their values has a variant of its own."""

_NO_HELPERS: Final = cast("Any", None)
"""No resolver has work beside the one that it awaits."""


_STAMPED: Final = frozenset({"shards", "shardsByKey"})

_POSITION: Final = frozenset({"cursor", "revision"})
"""Fields of what these are answered with."""


class Plan:
    """Of one operation. Raises NotPrepared where something of it is graphql-core's to execute. What it keeps of records
    is among `records`."""

    def __init__(
        self,
        schema: GraphQLSchema,
        document: DocumentNode,
        operation_name: str | None,
        records: RecordBytes | None = None,
    ) -> None:
        operation = get_operation_ast(document, operation_name)
        if operation is None:
            raise NotPrepared("no such operation")
        self.operation = operation
        self.kind = OperationType(operation.operation.value)
        self._schema = schema
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        used = list(self._fragments.values())
        self._conditions = _conditions(operation, used)
        if len(self._conditions) > _CONDITIONS:
            raise NotPrepared("too many conditions")
        self._inputs = InputCompiler(schema, operation)
        self._read = self._inputs.variables()
        self._variants: dict[tuple[bool, ...], _Variant | None] = {}
        self._selected = 0
        self._records = records or RecordBytes()
        self._kept: list[SelectionBytes] = []
        self.classification = classify(operation, document)
        self.cost = cost_of(schema, document, operation)

    @property
    def size(self) -> int:
        """Characters of generated functions, of all variants made so far."""
        return self._inputs.functions.size + self._selected

    def begin(self, variables: Mapping[str, Any] | None, context: Context) -> "Run":
        """A run with these variables; nothing has been called yet. Raises NotPrepared, and an exception of any other
        kind where the variables are not taken for granted."""
        started = perf_counter()
        values = self._read(variables or {})
        variant = self.compile(*[values[name] for name in self._conditions])
        arguments = [None if each.arguments is None else each.arguments(values) for each in variant.called]
        return Run(self, variant, values, arguments, context, started)

    @property
    def conditions(self) -> int:
        """How many variables `@skip` and `@include` depend on."""
        return len(self._conditions)

    def compile(self, *booleans: bool) -> "_Variant":
        """The variant for these values of the conditions, made at the first call. Raises NotPrepared."""
        if booleans not in self._variants:
            self._variants[booleans] = None
            self._variants[booleans] = self._variant(booleans)
        variant = self._variants[booleans]
        if variant is None:
            raise NotPrepared("not to be compiled")
        return variant

    def _variant(self, booleans: tuple[bool, ...]) -> "_Variant":
        conditions = VariableValues({}, dict(zip(self._conditions, booleans, strict=True)))
        compiler = SelectionCompiler(
            self._schema, self.operation, self._fragments, conditions, self._inputs, self._records
        )
        try:
            fields = compiler.root_fields()
        finally:
            self._kept += compiler.kept
        self._selected += compiler.size
        shows = any(each.name in _STAMPED and not _POSITION.isdisjoint(each.selected) for each in compiler.called)
        return _Variant(fields, compiler.called, shows)

    def release(self) -> None:
        """Keep no bytes of records any more: they go once no other plan uses them. Runs go on."""
        for each in self._kept:
            self._records.release(each)
        self._kept = []

    def resolve_info(
        self, called: CalledField, values: Mapping[str, Any], context: Context
    ) -> GraphQLResolveInfo[Context]:
        """As graphql-core makes it, but for the places in lists that a path would have."""
        return GraphQLResolveInfo(
            called.name,
            called.nodes,
            called.field.type,
            called.parent,
            Path(None, called.name, called.parent.name),
            self._schema,
            self._fragments,
            None,
            self.operation,
            VariableValues({}, dict(values)),
            context,
            is_awaitable,
            None,
            _NO_HELPERS,
        )


class PlannedInfo(Info):
    """What a resolver is given. graphql-core's own info is made where something of it is read: most resolvers read the
    context alone, and making it takes longer than answering a lookup."""

    def __init__(self, run: "Run", called: CalledField) -> None:
        self._run = run
        self._called = called
        self._field = called.definition

    @property
    def context(self) -> Context:
        return self._run.context

    @property
    def selected(self) -> frozenset[str]:
        """Names of the fields that are selected of what is being resolved."""
        return self._called.selected

    @property
    def selected_below(self) -> frozenset[str]:
        """Names of the fields that are selected below it, however deep."""
        return self._called.below

    @cached_property
    def _raw_info(self) -> GraphQLResolveInfo[Context]:  # type: ignore[override] # made when it is read
        return self._run.plan.resolve_info(self._called, self._run.values, self._run.context)


@dataclass(frozen=True, slots=True)
class _Variant:
    fields: Sequence[RootField]
    called: Sequence[CalledField]
    shows_position: bool


class Run:
    """A plan with the variables and the context of one request. `arguments` are those of its called fields."""

    __slots__ = ("_variant", "arguments", "context", "plan", "recorded", "values")

    def __init__(
        self,
        plan: Plan,
        variant: _Variant,
        values: Mapping[str, Any],
        arguments: Sequence[Mapping[str, Any] | None],
        context: Context,
        started: float,
    ) -> None:
        self.plan = plan
        self._variant = variant
        self.values = values
        self.context = context
        self.recorded = Recorded(started, {})
        """What the root resolvers gave or raised so far."""
        self.arguments = arguments

    @property
    def shows_position(self) -> bool:
        """Whether the answer to a lookup shows where in the stream it is exact."""
        return self._variant.shows_position

    def info(self, number: int) -> Info:
        """Of a called field of the variant."""
        return PlannedInfo(self, self._variant.called[number])

    async def data(self) -> dict[str, Any] | None:
        """The answer's data, for `encode_json`; null where graphql-core has to complete what was recorded."""
        fields = self._variant.fields
        try:
            if len(fields) > 1 and self.plan.kind is not OperationType.MUTATION:
                await self._resolve_all(fields)
            data: dict[str, Any] = {}
            slices = Slices() if len(fields) > 1 else None
            for each in fields:
                if slices is not None:
                    await slices.pause()
                value = None
                if each.resolve is not None:
                    outcome = self.recorded.outcomes.get(each.name) or await self._resolved(each.name, each.resolve)
                    if outcome.error is not None:
                        return None
                    value = outcome.value
                completed = each.complete(value, self)
                data[each.name] = await completed if each.is_async else completed
        except Exception:  # noqa: BLE001 - graphql-core finds it again, and where it is
            return None
        return data

    async def event(self, value: object) -> dict[str, Any] | None:
        """The data of an event of a subscription, whose one root field holds it; null as above."""
        try:
            (field,) = self._variant.fields
            completed = field.complete(value, self)
            return {field.name: await completed if field.is_async else completed}
        except Exception:  # noqa: BLE001 - as above
            return None

    async def _resolve_all(self, fields: Sequence[RootField]) -> None:
        """As many at the same time as the operation may."""
        remaining = iter(fields)

        async def resolve() -> None:
            slices = Slices()
            for each in remaining:
                if each.resolve is not None:
                    await slices.pause()
                    await self._resolved(each.name, each.resolve)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(len(fields), self.plan.classification.fields_at_once)):
                group.create_task(resolve())

    async def _resolved(self, name: str, resolve: Complete) -> Outcome:
        try:
            value = resolve(None, self)
            if is_awaitable(value):
                value = await value
        except Exception as error:  # noqa: BLE001 - published by graphql-core's execution
            outcome = Outcome(None, error)
        else:
            outcome = Outcome(value)
        self.recorded.outcomes[name] = outcome
        return outcome


class Plans(Protocol):
    """Where documents and plans are remembered."""

    def operation(self, text: str | None, name: str | None) -> OperationDefinitionNode | None:
        """Null for a document that cannot be parsed, or that has no such operation."""

    def plan(self, text: str | None, operation_name: str | None, principal: Principal) -> Plan | None:
        """Null for an operation that graphql-core has to execute, or to refuse. Raises NotPrepared."""

    def introspecting(self, text: str | None, name: str | None, principal: Principal) -> Any:
        """The document, if the operation selects nothing but the schema and may be executed; else null."""

    async def introspected(
        self, document: Any, variables: Mapping[str, Any] | None, operation_name: str | None
    ) -> GraphQLResult:
        """What such a document is answered with."""
        ...


async def _only(result: ExecutionResult) -> AsyncGenerator[Any, None]:
    yield result


class PreparedSchema(strawberry.Schema):
    """A schema that executes operations by their plans, whatever transport they came by."""

    documents: Plans
    metrics: Metrics | None = None

    async def execute(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any = None,
        root_value: Any = None,
        operation_name: str | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
        operation_extensions: dict[str, Any] | None = None,
    ) -> ExecutionResult:
        """By the plan of the operation, from the second time on, while all is well; else by graphql-core."""
        allowed = allowed_operation_types or (OperationType.QUERY, OperationType.MUTATION)
        if isinstance(context_value, Context):
            answered = [kind for kind in allowed if kind is not OperationType.SUBSCRIPTION]
            run = self.begin(query, operation_name, variable_values, context_value, answered)
            if run is not None:
                data = await self.data(run)
                if data is not None:
                    return ExecutionResult(data=data if context_value.is_encoded else decoded(data), errors=None)
                return await self.complete(run, query, variable_values, operation_name)
            document = self.documents.introspecting(query, operation_name, context_value.principal)
            if document is not None and OperationType.QUERY in allowed:
                return await self._introspect(document, variable_values, operation_name, context_value)
        return await super().execute(
            query, variable_values, context_value, root_value, operation_name, allowed, operation_extensions
        )

    def unreadable(self) -> None:
        """Count a document that could not be parsed, and is not executed."""
        if self.metrics is not None:
            self.metrics.ended(UNREADABLE, "errors", 0.0)

    async def stream(
        self,
        query: str | None,
        variable_values: dict[str, Any] | None = None,
        context_value: Any = None,
        root_value: Any = None,
        operation_name: str | None = None,
        operation_extensions: dict[str, Any] | None = None,
        allowed_operation_types: Iterable[OperationType] | None = None,
    ) -> StreamResult:
        """As Strawberry does, but for the schema itself."""
        allowed = allowed_operation_types or tuple(OperationType)
        if isinstance(context_value, Context):
            document = self.documents.introspecting(query, operation_name, context_value.principal)
            if document is not None and OperationType.QUERY in allowed:
                return _only(await self._introspect(document, variable_values, operation_name, context_value))
        return await super().stream(
            query, variable_values, context_value, root_value, operation_name, operation_extensions, allowed
        )

    async def _introspect(
        self, document: Any, variables: Mapping[str, Any] | None, operation_name: str | None, context: Context
    ) -> ExecutionResult:
        started = perf_counter()
        outcome: Ending = "cancelled"
        try:
            found = await self.documents.introspected(document, variables, operation_name)
            outcome = "errors" if found.data is None else "ok"
        finally:
            if self.metrics is not None:
                self.metrics.ended(OperationType.QUERY.value, outcome, perf_counter() - started)
        errors = list(found.errors or ())
        if errors:
            publish(errors, context.request_id)
        return ExecutionResult(data=found.data, errors=errors or None)

    async def data(self, run: Run) -> dict[str, Any] | None:
        """The answer's data, counted and timed; null for a run to `complete`, which counts it."""
        outcome: Ending = "cancelled"
        try:
            data = await run.data()
            outcome = "errors" if data is None else "ok"
            if run.plan.kind is OperationType.MUTATION and data is not None:
                record = current_record()
                outcome = "ok" if record is None else record.outcome
        finally:
            if self.metrics is not None and outcome != "errors":
                self.metrics.ended(run.plan.kind.value, outcome, perf_counter() - run.recorded.started)
        return data

    async def complete(
        self, run: Run, query: str | None, variables: dict[str, Any] | None, operation_name: str | None
    ) -> ExecutionResult:
        """What graphql-core makes of that which the run's root resolvers gave and raised."""
        self.fell_back(query, operation_name, "errors")
        context = run.context._replace(recorded=run.recorded)
        return await super().execute(query, variables, context, None, operation_name, (run.plan.kind,))

    def begin(
        self,
        query: str | None,
        operation_name: str | None,
        variables: Mapping[str, Any] | None,
        context: Context,
        allowed: Iterable[OperationType],
    ) -> Run | None:
        """The operation's plan with these variables; null where graphql-core has to execute it, or to find out why that
        is refused."""
        try:
            plan = self.documents.plan(query, operation_name, context.principal)
            if plan is None or plan.kind not in allowed:
                return None
            return plan.begin(variables, context)
        except NotPrepared:
            self.fell_back(query, operation_name, "not_prepared")
        except Exception:  # noqa: BLE001 - of variables that are not taken for granted
            self.fell_back(query, operation_name, "variables")
        return None

    def fell_back(self, query: str | None, operation_name: str | None, reason: str) -> None:
        """Count an operation that graphql-core executes in place of its plan, by its name in the document."""
        if self.metrics is not None:
            operation = self.documents.operation(query, operation_name)
            name = None if operation is None or operation.name is None else operation.name.value
            self.metrics.fell_back(name, reason)


def _conditions(operation: OperationDefinitionNode, fragments: Sequence[FragmentDefinitionNode]) -> Sequence[str]:
    """The variables that `@skip` and `@include` depend on, anywhere in the document."""
    found = _Conditions()
    for node in (operation, *fragments):
        visit(node, found)
    defined = {each.variable.name.value for each in operation.variable_definitions or ()}
    return sorted(found.names & defined)


class _Conditions(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_directive(self, node: DirectiveNode, *_: object) -> None:
        self.names |= {each.value.name.value for each in node.arguments or () if isinstance(each.value, VariableNode)}
