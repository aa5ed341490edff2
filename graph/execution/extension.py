"""What is done around each execution by Strawberry."""

import asyncio
from collections.abc import Iterator
from time import perf_counter

from strawberry.extensions import SchemaExtension
from strawberry.types.graphql import OperationType

from graph.execution.context import Context
from graph.execution.documents import Document, DocumentCache
from graph.execution.metrics import UNREADABLE, Metrics, Outcome
from graph.execution.outcomes import current_record


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
        # What cannot be parsed was answered before: see `PreparedSchema.unreadable`.
        self._document = self._documents.parsed(self.execution_context.query or "")
        self.execution_context.graphql_document = self._document.node
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
