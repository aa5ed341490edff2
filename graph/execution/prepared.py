"""Prepared operations: an operation of a valid document is compiled once, into a plan from its variables to its answer.

What graphql-core and Strawberry do anew for each request although it depends on the document alone, a plan has behind
it: selections are collected and compiled to functions (`selections`), variables and arguments coerced by functions of
their types (`inputs`), resolvers called directly. A plan answers what is right. For the rest there is one authority,
graphql-core: where the variables are not taken for granted it executes the operation before a resolver was called;
where a resolver raises, or a value is not as the schema has it, it completes what the root resolvers gave, which is
recorded. So no resolver of a root field, and no mutation, is called twice. docs/decisions/0029-prepared-operations.md.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from time import perf_counter
from typing import Any, Protocol

import strawberry
from graphql import ExecutionResult as GraphQLResult
from graphql import OperationDefinitionNode
from strawberry.schema.schema import StreamResult
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from graph.auth.principal import Principal
from graph.execution.context import Context
from graph.execution.encoding import decoded
from graph.execution.errors import publish
from graph.execution.inputs import NotPrepared
from graph.execution.metrics import UNREADABLE, Metrics
from graph.execution.metrics import Outcome as Ending
from graph.execution.operation_plan import Plan, Run
from graph.execution.outcomes import current_record


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
        """As `Run.data`, counted and timed; null for a run to `complete`, which counts it."""
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

    async def stands(self, run: Run, kept: Callable[[], Awaitable[bool]]) -> bool:
        """Whether an answer that was kept is that of the run: then it is counted, and timed. What goes wrong is what
        its resolver raises."""
        outcome: Ending = "cancelled"
        try:
            outcome = "ok" if await kept() else "errors"
        except Exception as error:  # noqa: BLE001 - published by graphql-core's execution
            outcome = "errors"
            run.fail(error)
        finally:
            if self.metrics is not None and outcome != "errors":
                self.metrics.ended(run.plan.kind.value, outcome, perf_counter() - run.recorded.started)
        return outcome == "ok"

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
