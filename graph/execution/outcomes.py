"""What the operation that a task executes has come to: how each of its mutations ended, and the codes of its errors.

The transports begin a record; resolvers and the publication of errors, below graphql-core, add to it; the log and the
metrics are made of it. What is executed without one is not recorded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Final

from graph.execution.metrics import Metrics, Outcome

TRACEPARENT: Final = "traceparent"

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


class OperationRecord:
    """Of one operation. `cost` is what it was weighed at, null where it was not."""

    __slots__ = ("codes", "cost", "metrics", "outcome", "trace_id")

    def __init__(self, metrics: Metrics, trace_id: str | None) -> None:
        self.metrics = metrics
        self.trace_id = trace_id
        self.outcome: Outcome = "ok"
        self.codes: list[str] = []
        self.cost: int | None = None

    def refused(self, code: str, rules: Sequence[str] = (), *, is_conflict: bool) -> None:
        """A mutation was answered with this member of its union, for these rules of a policy."""
        self._note(code)
        counted = self.metrics.conflicts if is_conflict else self.metrics.refusals
        counted.labels(code).inc()
        for rule in rules:
            self.metrics.rules.labels(rule).inc()
        if self.outcome == "ok" or (self.outcome == "conflict" and not is_conflict):
            self.outcome = "conflict" if is_conflict else "refused"

    def failed(self, code: str) -> None:
        """An error with this code is in the answer; it is counted where it is published."""
        self._note(code)
        self.outcome = "errors"

    def _note(self, code: str) -> None:
        """Each once: a subscription may go on for days with errors."""
        if code not in self.codes:
            self.codes.append(code)


_current: Final[ContextVar[OperationRecord | None]] = ContextVar("omnirelay_operation", default=None)


def begin_record(metrics: Metrics, trace_id: str | None) -> OperationRecord:
    """The record of what this task executes from now on. `trace_id` is that of the caller's trace."""
    record = OperationRecord(metrics, trace_id)
    _current.set(record)
    return record


def end_record() -> None:
    """Of a task that goes on, with nothing more to be recorded."""
    _current.set(None)


def current_record() -> OperationRecord | None:
    return _current.get()


def trace_id_of(traceparent: str | None) -> str | None:
    """From the header of https://www.w3.org/TR/trace-context/#traceparent-header; null for one that is none."""
    found = None if traceparent is None else _TRACEPARENT.fullmatch(traceparent.strip())
    return None if found is None else found[1]
