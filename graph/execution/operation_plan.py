"""The plan of one operation, and a run of it with the variables of one request. See `prepared`."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Any, Final, cast

import orjson
from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLResolveInfo,
    GraphQLSchema,
    OperationDefinitionNode,
    VariableNode,
    Visitor,
    get_operation_ast,
    visit,
)
from graphql.execution.values import VariableValues
from graphql.pyutils import Path, is_awaitable
from strawberry.types.graphql import OperationType

from graph.execution.context import Context, Info, Outcome, Recorded
from graph.execution.cost import cost_of
from graph.execution.encoding import MANY_RECORDS, encode_in_slices
from graph.execution.inputs import InputCompiler, NotPrepared
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
        self._generated = [self._inputs.functions]
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
        is_long = not self.cost.is_free and self.cost.records(variables or {}) > MANY_RECORDS
        return Run(self, variant, values, arguments, context, started, is_long=is_long)

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
            self._generated.append(compiler.functions)
        self._selected += compiler.size
        shows = any(each.name in _STAMPED and not _POSITION.isdisjoint(each.selected) for each in compiler.called)
        is_one = len(fields) == len(compiler.called) == 1 and not fields[0].is_async
        return _Variant(fields, compiler.called, shows, fields[0].name if is_one else None)

    def __del__(self) -> None:
        # No run has it any more. It may be none that was made.
        for each in getattr(self, "_generated", ()):
            each.clear()

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
    def nodes(self) -> Sequence[FieldNode]:
        """What is being resolved, in the document."""
        return self._called.nodes

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
    source: str | None
    """The root field that is all of it, where nothing else is called or waited for; by its name in the answer."""


class Run:
    """A plan with the variables and the context of one request. `arguments` are those of its called fields. `is_long`:
    its answer may be megabytes."""

    __slots__ = ("_variant", "arguments", "context", "is_long", "plan", "recorded", "values")

    def __init__(
        self,
        plan: Plan,
        variant: _Variant,
        values: Mapping[str, Any],
        arguments: Sequence[Mapping[str, Any] | None],
        context: Context,
        started: float,
        *,
        is_long: bool,
    ) -> None:
        self.plan = plan
        self.is_long = is_long
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

    @property
    def source(self) -> Any:
        """What its one resolver gave, where the answer is made of that and nothing else; null where it is not."""
        outcome = self.recorded.outcomes.get(self._variant.source or "")
        return None if outcome is None else outcome.value

    def fail(self, error: Exception) -> None:
        """As if its one resolver had raised it."""
        if self._variant.source is not None:
            self.recorded.outcomes[self._variant.source] = Outcome(None, error)

    def info(self, number: int) -> Info:
        """Of a called field of the variant."""
        return PlannedInfo(self, self._variant.called[number])

    async def data(self) -> dict[str, Any] | None:
        """The answer's data, for `encode_json`; null where graphql-core has to complete what was recorded. What each of
        several root fields comes to is JSON already where it is long: as objects, ten answers of 10,000 records left
        the process 40 to 50 MB larger."""
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
                if slices is not None and self.is_long:
                    data[each.name] = orjson.Fragment(await encode_in_slices(data[each.name]))
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
