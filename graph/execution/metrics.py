"""Prometheus metrics. One registry per application: two in a process do not count into each other."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector, generate_latest
from strawberry.types.graphql import OperationType

UNREADABLE: Final = "unreadable"

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_NAMES: Final = 100

_SUMMED: Final = frozenset(
    {
        "omnirelay_answer_bytes_kept",
        "omnirelay_operations_running",
        "omnirelay_operations_waiting",
        "omnirelay_record_bytes_kept",
        "omnirelay_subscriptions_open",
    }
)
"""Gauges of which the sum over processes means something, as it does of every counter and histogram."""


class Metrics:
    """Names and labels are listed in docs/graphql-api.md."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._names: set[str] = set()
        # By type and outcome: `labels` takes as long as the rest of counting.
        self._ended: dict[tuple[str, str], tuple[Counter, Histogram | None]] = {}
        ProcessCollector(registry=self.registry)
        self.operations = Counter(
            "omnirelay_operations",
            "GraphQL operations ended, by type (query, mutation, subscription, unreadable) and outcome (ok, errors, "
            "cancelled).",
            ("type", "outcome"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "omnirelay_operation_seconds",
            "Time from reading an operation to its answer, without subscriptions.",
            ("type",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.operations_running = Gauge(
            "omnirelay_operations_running",
            "Operations being executed, by workload (lookup, catch_up, query, history, planning, mutation).",
            ("workload",),
            registry=self.registry,
        )
        self.operations_waiting = Gauge(
            "omnirelay_operations_waiting",
            "Operations that wait for their turn, by workload.",
            ("workload",),
            registry=self.registry,
        )
        self.operations_abandoned = Counter(
            "omnirelay_operations_abandoned",
            "Operations given up, waiting or begun, because their client had left; by workload.",
            ("workload",),
            registry=self.registry,
        )
        self.operations_overloaded = Counter(
            "omnirelay_operations_overloaded",
            "Operations refused because too many waited, or for too long; by workload.",
            ("workload",),
            registry=self.registry,
        )
        self.fallbacks = Counter(
            "omnirelay_operations_fallback",
            "Operations executed by graphql-core in place of their plan, by name (100 names, then `other`) and reason "
            "(not_prepared, variables, errors).",
            ("operation", "reason"),
            registry=self.registry,
        )
        self.record_bytes = Gauge(
            "omnirelay_record_bytes_kept",
            "Memory of the JSON that is kept of records, by selection, and of those records.",
            registry=self.registry,
        )
        self.answer_bytes = Gauge(
            "omnirelay_answer_bytes_kept",
            "Memory of the answers to lookups that are kept whole, and of their requests.",
            registry=self.registry,
        )
        self.lookups_kept = Counter(
            "omnirelay_lookups_answered_again",
            "Lookups that were not executed, because the answer that was kept still stands.",
            registry=self.registry,
        )
        self.subscriptions = Gauge(
            "omnirelay_subscriptions_open", "Subscriptions being served.", registry=self.registry
        )
        self.batches = Counter(
            "omnirelay_batches_sent",
            "Batches of diffs sent to subscribers, bookmarks included.",
            registry=self.registry,
        )
        self.executions = Counter(
            "omnirelay_batches_executed",
            "Batches executed for subscribers; those who ask the same share one.",
            registry=self.registry,
        )
        self.callers_refused = Counter(
            "omnirelay_callers_refused",
            "Requests and sockets refused for want of a good token.",
            registry=self.registry,
        )
        self.lookups_not_modified = Counter(
            "omnirelay_lookups_not_modified",
            "Lookups that were not executed, because the client has the answer as of this revision.",
            registry=self.registry,
        )
        self.feed_revision = Gauge(
            "omnirelay_feed_revision", "The newest revision this process has seen.", registry=self.registry
        )
        self.feed_lag = Gauge(
            "omnirelay_feed_lag_revisions",
            "Revisions committed that this process has not seen; NaN while the store cannot be read.",
            registry=self.registry,
        )

    def ended(self, kind: str, outcome: str, seconds: float) -> None:
        """Count an operation. A subscription lasts as long as its client likes, so its time is not observed."""
        counted = self._ended.get((kind, outcome))
        if counted is None:
            timed = None if kind == OperationType.SUBSCRIPTION.value else self.seconds.labels(kind)
            counted = self._ended[kind, outcome] = self.operations.labels(kind, outcome), timed
        operations, timed = counted
        operations.inc()
        if timed is not None:
            timed.observe(seconds)

    def answered_again(self, seconds: float) -> None:
        """Count a lookup whose answer was kept."""
        self.lookups_kept.inc()
        self.ended(OperationType.QUERY.value, "ok", seconds)

    def fell_back(self, name: str | None, reason: str) -> None:
        """Count an operation that graphql-core executed in place of its plan. Clients choose the names: 100 at most are
        labels."""
        label = name or "unnamed"
        if label not in self._names:
            if len(self._names) >= _NAMES:
                label = "other"
            self._names.add(label)
        self.fallbacks.labels(label, reason).inc()

    @contextmanager
    def subscription(self) -> Iterator[None]:
        """Count one that is being served, until it ends. That its client leaves, which cancels it, is no error."""
        failed = False
        self.subscriptions.inc()
        try:
            yield
        except Exception:
            failed = True
            raise
        finally:
            self.subscriptions.dec()
            self.ended(OperationType.SUBSCRIPTION.value, "errors" if failed else "ok", 0.0)

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)

    def snapshot(self, process: Mapping[str, str]) -> list[Metric]:
        """All of it, to be added to what other processes count. What has no sum gets the labels `process`."""
        families = list(self.registry.collect())
        for family in families:
            if family.name.startswith("process_") or (family.type == "gauge" and family.name not in _SUMMED):
                family.samples = [it._replace(labels={**it.labels, **process}) for it in family.samples]
        return families
