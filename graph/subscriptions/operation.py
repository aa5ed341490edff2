"""One subscription to the stream, from its document and variables to the payload of each batch.

Subscriptions share a group if they are sent the same bytes for the same batch: the same document and operation, the
same variables, the same scopes. The cursor does not count: each node of a mesh resumes with its own. Nor does the
caller, so batches are executed without one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from graphql import (
    DocumentNode,
    ExecutionResult,
    Executor,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    VariableNode,
    Visitor,
    create_source_event_stream,
    execute_subscription_event,
    get_operation_ast,
    visit,
)
from strawberry.types.graphql import OperationType as Kind

from graph.auth.principal import Principal, Scope
from graph.execution.context import Context
from graph.execution.encoding import encode_json
from graph.execution.executor import RecordExecutor
from graph.execution.operation_plan import Run
from graph.execution.workload import names_below
from graph.schema.build import MeshSchema
from graph.schema.change_stream import ChangeSource
from graph.schema.stream import HEAD, DiffStream, Source
from persistence.model.stream import DiffBatch


@dataclass(frozen=True, slots=True)
class SharingKey:
    query: str
    operation_name: str | None
    variables: bytes
    scopes: frozenset[Scope]


@dataclass(frozen=True, slots=True)
class Refused:
    """The operation is not begun, for these errors."""

    errors: list[GraphQLError]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class SubscriptionOperation:
    """A subscription that was accepted."""

    key: SharingKey
    stream: Source
    _schema: MeshSchema
    _build_executor: Callable[[], Executor[Any]]
    """Of graphql-core. Not held: it is of use where a plan is none, and part of a cycle, which would leave every
    subscription that has ended to the garbage collector."""
    _context: Context
    run: Run | None
    """Its plan with its variables; null where graphql-core executes each batch."""
    shows_time: bool = False
    """Whether the result for a batch depends on when it is made."""

    def executed_as(self, other: SubscriptionOperation) -> SubscriptionOperation:
        """This subscription, its batches executed by what executes those of the other, of an equal key."""
        return replace(self, key=other.key, _build_executor=other._build_executor, run=other.run)

    async def payload(self, batch: DiffBatch) -> str:
        """The result for one batch, as JSON."""
        event = self.stream.event(batch)
        data = None if self.run is None else await self.run.event(event)
        if data is not None:
            return encode_json({"data": data}).decode()
        if self.run is not None:
            self._schema.fell_back(self.key.query, self.key.operation_name, "errors")
        result = execute_subscription_event(self._build_executor().build_per_event_executor(event))
        if not isinstance(result, ExecutionResult):
            result = await result
        return self._encoded(result)

    def failure(self, error: Exception) -> str:
        """The result that ends the stream, for what was raised while following it."""
        located = error if isinstance(error, GraphQLError) else GraphQLError(str(error), original_error=error)
        return self._encoded(ExecutionResult(None, [located]))

    def _encoded(self, result: ExecutionResult) -> str:
        body: dict[str, Any] = {"data": result.data}
        if result.errors:
            errors = list(result.errors)
            self._schema.publish(errors, self._context)
            body["errors"] = [error.formatted for error in errors]
        return encode_json(body).decode()


async def open_operation(
    schema: MeshSchema,
    query: str,
    variables: Mapping[str, Any] | None,
    operation_name: str | None,
    context: Context,
) -> SubscriptionOperation | Refused | None:
    """Null for anything that is not a valid subscription to the stream: that is executed as any other operation, which
    also reports what is wrong with it."""
    document = schema.documents.valid(query)
    operation = None if document is None else get_operation_ast(document.node, operation_name)
    if document is None or operation is None or operation.operation is not OperationType.SUBSCRIPTION:
        return None
    forbidden = schema.documents.forbidden(document, operation_name, context.principal)
    if forbidden:
        return _refused(schema, [forbidden], context)
    scopes = context.principal.scopes
    context = context._replace(principal=Principal(None, scopes))
    build = partial(
        RecordExecutor.build,
        schema.core,
        document.node,
        raw_variable_values=dict(variables or {}),
        operation_name=operation_name,
        context_value=context,
    )
    executor = build()
    if not isinstance(executor, Executor):
        return _refused(schema, list(executor), context)
    found = create_source_event_stream(executor)
    if not isinstance(found, ExecutionResult | DiffStream | ChangeSource):
        found = await found  # type: ignore[misc]  # an iterable that is no Source is not followed
    if isinstance(found, ExecutionResult):
        return _refused(schema, list(found.errors or ()), context)
    if not isinstance(found, DiffStream | ChangeSource):
        return None
    if operation_name not in document.cursors:
        document.cursors[operation_name] = _cursors(operation, document.node)
    cursors = document.cursors[operation_name]
    shared = {name: value for name, value in (variables or {}).items() if name not in cursors}
    key = SharingKey(query, operation_name, encode_json(dict(sorted(shared.items()))), scopes)
    run = schema.begin(query, operation_name, variables, context, (Kind.SUBSCRIPTION,))
    fragments = {
        node.name.value: node for node in document.node.definitions if isinstance(node, FragmentDefinitionNode)
    }
    shows_time = HEAD in names_below(operation.selection_set.selections, fragments)
    # It was built of the same, so it can be built again.
    build_again = cast("Callable[[], Executor[Any]]", build)
    return SubscriptionOperation(key, found, schema, build_again, context, run, shows_time)


def _refused(schema: MeshSchema, errors: list[GraphQLError], context: Context) -> Refused:
    schema.publish(errors, context)
    return Refused(errors)


def _cursors(operation: OperationDefinitionNode, document: DocumentNode) -> frozenset[str]:
    """The variables that are `after` of the stream and used for nothing else."""
    cursors = {
        argument.value.name.value
        for selection in operation.selection_set.selections
        if isinstance(selection, FieldNode)
        for argument in selection.arguments or ()
        if argument.name.value == "after" and isinstance(argument.value, VariableNode)
    }
    uses = _Uses()
    visit(document, uses)
    return frozenset(name for name in cursors if uses.of(name) == 1)


class _Uses(Visitor):
    """How often each variable is named, not counting where it is defined."""

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []
        self._defined: list[str] = []

    def enter_variable(self, node: VariableNode, *_: object) -> None:
        self._names.append(node.name.value)

    def enter_variable_definition(self, node: Any, *_: object) -> None:
        self._defined.append(node.variable.name.value)

    def of(self, name: str) -> int:
        return self._names.count(name) - self._defined.count(name)
