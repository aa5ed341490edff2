"""Prometheus metrics. One registry per application: two in a process do not count into each other."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, ProcessCollector, generate_latest
from prometheus_client.registry import Collector

Outcome: TypeAlias = Literal["ok", "refused", "conflict", "errors", "cancelled"]
"""Of an operation. `refused`: a mutation was answered with a refusal. `conflict`: with one that shows what has changed
since. `errors`: it could not be begun, or there are errors in the answer. The worst counts, in this order."""

UNREADABLE: Final = "unreadable"

QUERY: Final = "query"

SUBSCRIPTION: Final = "subscription"

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_NAMES: Final = 100

_SUMMED: Final = frozenset(
    {
        "omnirelay_commit_queue_changes",
        "omnirelay_kept_answers_bytes",
        "omnirelay_kept_documents_bytes",
        "omnirelay_kept_records_bytes",
        "omnirelay_operations_running",
        "omnirelay_operations_waiting",
        "omnirelay_plan_jobs",
        "omnirelay_pool_connections",
        "omnirelay_pool_waiting",
        "omnirelay_subscriber_group_members",
        "omnirelay_subscriber_groups",
        "omnirelay_subscriptions_open",
    }
)
"""Gauges of which the sum over processes means something, as it does of every counter and histogram."""

OF_THE_STORE: Final = frozenset(
    {
        "omnirelay_build_info",
        "omnirelay_nodes",
        "omnirelay_orphaned_shards",
        "omnirelay_shards",
    }
)
"""Gauges that every process has the same value of, but for the time of a change: that of one of them is exposed."""

FEED_REVISION: Final = "omnirelay_feed_revision"


class Metrics:
    """Names and labels are listed in docs/metrics.md."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._names: set[str] = set()
        # By type and outcome: `labels` takes as long as the rest of counting.
        self._ended: dict[tuple[str, str], tuple[Counter, Histogram | None]] = {}
        ProcessCollector(registry=self.registry)
        self.operations = Counter(
            "omnirelay_operations",
            "GraphQL operations ended, by type (query, mutation, subscription, unreadable) and outcome (ok, refused, "
            "conflict, errors, cancelled).",
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
        self.waited = Histogram(
            "omnirelay_operation_wait_seconds",
            "Time that operations waited for their turn, of those that did; by workload.",
            ("workload",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.changes = Counter(
            "omnirelay_changes",
            "Changes that were made for callers of this process, by kind (the API's ChangeKind).",
            ("kind",),
            registry=self.registry,
        )
        self.refusals = Counter(
            "omnirelay_refusals",
            "Mutations that were answered with a refusal, by code: the member of the union, conflicts aside.",
            ("code",),
            registry=self.registry,
        )
        self.rules = Counter(
            "omnirelay_policy_refusals",
            "Mutations that were refused for a rule of a policy, by rule; one that breaks several counts for each.",
            ("rule",),
            registry=self.registry,
        )
        self.conflicts = Counter(
            "omnirelay_conflicts",
            "Mutations whose expectation did not hold any more, by code: VersionConflict, StaleNamespace, StaleNode, "
            "StalePlan.",
            ("code",),
            registry=self.registry,
        )
        self.errors = Counter(
            "omnirelay_errors",
            "Errors that were answered, by code: extensions.code.",
            ("code",),
            registry=self.registry,
        )
        self.operations_over_cost = Counter(
            "omnirelay_operations_over_cost",
            "Operations refused for what they ask for, by limit (operation, budget).",
            ("limit",),
            registry=self.registry,
        )
        self.fallbacks = Counter(
            "omnirelay_operations_fallback",
            "Operations executed by graphql-core in place of their plan, by name (100 names, then `other`) and reason "
            "(not_prepared, variables, errors).",
            ("operation", "reason"),
            registry=self.registry,
        )
        self.document_bytes = Gauge(
            "omnirelay_kept_documents_bytes",
            "Memory of the documents that are remembered, with their plans, estimated; without trusted ones.",
            registry=self.registry,
        )
        self.record_bytes = Gauge(
            "omnirelay_kept_records_bytes",
            "Memory of the JSON that is kept of records, by selection, and of those records.",
            registry=self.registry,
        )
        self.answer_bytes = Gauge(
            "omnirelay_kept_answers_bytes",
            "Memory of the answers that are kept whole, and of their requests.",
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
        self.groups = Gauge(
            "omnirelay_subscriber_groups",
            "Groups of subscribers that keep up and share their batches.",
            registry=self.registry,
        )
        self.group_members = Gauge(
            "omnirelay_subscriber_group_members",
            "Subscribers in these groups; the others are behind and read alone.",
            registry=self.registry,
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
        self.feed_revision = Gauge(FEED_REVISION, "The newest revision this process has seen.", registry=self.registry)
        self.feed_lag = Gauge(
            "omnirelay_feed_lag_revisions",
            "Revisions committed that this process has not seen; NaN while the store cannot be read.",
            registry=self.registry,
        )

    def ended(self, kind: str, outcome: Outcome, seconds: float) -> None:
        """Count an operation. A subscription lasts as long as its client likes, so its time is not observed."""
        counted = self._ended.get((kind, outcome))
        if counted is None:
            timed = None if kind == SUBSCRIPTION else self.seconds.labels(kind)
            counted = self._ended[kind, outcome] = self.operations.labels(kind, outcome), timed
        operations, timed = counted
        operations.inc()
        if timed is not None:
            timed.observe(seconds)

    def answered_again(self, seconds: float) -> None:
        """Count a lookup whose answer was kept."""
        self.lookups_kept.inc()
        self.ended(QUERY, "ok", seconds)

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
            self.ended(SUBSCRIPTION, "errors" if failed else "ok", 0.0)

    def add(self, collector: Collector) -> None:
        """What is read when metrics are collected."""
        self.registry.register(collector)

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)

    def snapshot(self, process: Mapping[str, str]) -> list[Metric]:
        """All of it, to be added to what other processes count. What has no sum, and is not of the store, gets the
        labels `process`."""
        families = list(self.registry.collect())
        for family in families:
            has_sum = family.type != "gauge" or family.name in _SUMMED or family.name in OF_THE_STORE
            if family.name.startswith("process_") or not has_sum:
                family.samples = [it._replace(labels={**it.labels, **process}) for it in family.samples]
        return families
