"""One line a request: which operation, how it ended, how long it took, and for whom.

At DEBUG for each; at INFO for those that failed or were slow, and not for those that were answered with a refusal,
which has a line of its own (`graph/schema/commands`). docs/decisions/0049-logs-metrics-traces.md.
"""

from __future__ import annotations

import logging
from typing import Final

from graphql import OperationDefinitionNode
from starlette.types import Scope

from graph.auth.principal import ANONYMOUS, Principal
from graph.execution.errors import Code
from graph.execution.outcomes import TRACEPARENT, OperationRecord, trace_id_of
from graph.logs import log
from persistence.tracing import NO_TRACING, Attribute, Tracer

SLOW_SECONDS: Final = 1.0

_TRACEPARENT: Final = TRACEPARENT.encode()

_LONGEST_NAME: Final = 100
"""Characters that are shown of what a client calls its operation."""

_TOKENLESS: Final = frozenset({Code.UNAUTHENTICATED})
"""Logged where the token is read, with why."""

_log = logging.getLogger(__name__)


class RequestLog:
    """Of one application. What took `slow_seconds` or longer is slow."""

    def __init__(self, slow_seconds: float = SLOW_SECONDS, tracer: Tracer = NO_TRACING) -> None:
        self.slow_seconds = slow_seconds
        self._tracer = tracer

    @property
    def has_each(self) -> bool:
        """Whether each request is logged or traced, the good and fast ones too."""
        return self._tracer.is_on or _log.isEnabledFor(logging.DEBUG)

    def ended(
        self,
        transport: str,
        operation: OperationDefinitionNode | None,
        record: OperationRecord,
        seconds: float,
        scope: Scope,
        request_id: str,
        principal: Principal = ANONYMOUS,
    ) -> None:
        """`transport`: http, kept (an answer that was kept), sse or websocket. `operation` is null for one that could
        not be read. A subscription has ended once it is open."""
        if self._tracer.is_on:
            self._annotate(operation, record)
        failed = record.outcome == "errors" and _TOKENLESS.isdisjoint(record.codes)
        level = logging.INFO if failed or seconds >= self.slow_seconds else logging.DEBUG
        if not _log.isEnabledFor(level):
            return
        name = None if operation is None or operation.name is None else operation.name.value[:_LONGEST_NAME]
        fields = {
            "operation": name,
            "type": None if operation is None else operation.operation.value,
            "outcome": record.outcome,
            "codes": record.codes or None,
            "cost": record.cost,
            "seconds": round(seconds, 6),
            "caller": principal.subject or address_of(scope),
            "transport": transport,
            "request_id": request_id,
            "trace_id": record.trace_id or self._tracer.trace_id(),
        }
        log(_log, level, "request", fields)

    def _annotate(self, operation: OperationDefinitionNode | None, record: OperationRecord) -> None:
        """https://opentelemetry.io/docs/specs/semconv/graphql/graphql-spans/"""
        attributes: dict[str, Attribute] = {"outcome": record.outcome}
        if operation is not None:
            attributes["graphql.operation.type"] = operation.operation.value
            if operation.name is not None:
                attributes["graphql.operation.name"] = operation.name.value
        if record.codes:
            attributes["codes"] = ",".join(record.codes)
        self._tracer.annotate(**attributes)


def address_of(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def traceparent_of(scope: Scope) -> str | None:
    """The header, if there is one."""
    found = [value for name, value in scope["headers"] if name == _TRACEPARENT]
    return found[0].decode("latin-1") if len(found) == 1 else None


def trace_id_in(scope: Scope) -> str | None:
    return trace_id_of(traceparent_of(scope))
