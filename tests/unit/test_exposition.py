"""Metrics of several processes, added up."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from graph.execution.metrics import Metrics
from graph.server.exposition import WORKER, Snapshot, Totals


def counted(metrics: Metrics, worker: int) -> Snapshot:
    return metrics.snapshot({WORKER: str(worker)})


def value(totals: Totals, name: str, labels: Mapping[str, str]) -> float | None:
    """Of the sample with just these labels; null if there is none."""
    families = text_string_to_metric_families(totals.exposition().decode())
    found = [it.value for family in families for it in family.samples if it.name == name and it.labels == labels]
    assert len(found) <= 1
    return found[0] if found else None


@pytest.fixture
def workers() -> tuple[Metrics, Metrics]:
    """The first has answered two queries, the second one and a mutation."""
    first, second = Metrics(), Metrics()
    for metrics, kind, seconds in ((first, "query", 0.002), (first, "query", 3.0), (second, "query", 0.002)):
        metrics.ended(kind, "ok", seconds)
    second.ended("mutation", "ok", 0.1)
    first.subscriptions.set(2)
    second.subscriptions.set(3)
    first.feed_revision.set(7)
    second.feed_revision.set(8)
    return first, second


QUERIES = {"type": "query", "outcome": "ok"}


def test_counters_histograms_and_gauges_that_have_a_sum_are_added_up(workers: tuple[Metrics, Metrics]) -> None:
    totals = Totals()
    totals.current = [counted(metrics, number) for number, metrics in enumerate(workers, 1)]
    assert value(totals, "omnirelay_operations_total", QUERIES) == 3
    assert value(totals, "omnirelay_operations_total", {"type": "mutation", "outcome": "ok"}) == 1
    assert value(totals, "omnirelay_operation_seconds_bucket", {"type": "query", "le": "0.0025"}) == 2
    assert value(totals, "omnirelay_operation_seconds_count", {"type": "query"}) == 3
    assert value(totals, "omnirelay_operation_seconds_sum", {"type": "query"}) == pytest.approx(3.004)
    assert value(totals, "omnirelay_subscriptions_open", {}) == 5


def test_what_has_no_sum_is_named_by_worker(workers: tuple[Metrics, Metrics]) -> None:
    totals = Totals()
    totals.current = [counted(metrics, number) for number, metrics in enumerate(workers, 1)]
    assert value(totals, "omnirelay_feed_revision", {}) is None
    assert value(totals, "omnirelay_feed_revision", {WORKER: "1"}) == 7
    assert value(totals, "omnirelay_feed_revision", {WORKER: "2"}) == 8
    assert value(totals, "process_resident_memory_bytes", {WORKER: "1"})


def test_counters_do_not_fall_when_a_worker_ends(workers: tuple[Metrics, Metrics]) -> None:
    first, second = workers
    totals = Totals()
    totals.end(counted(first, 1))
    successor = Metrics()
    successor.ended("query", "ok", 0.002)
    totals.current = [counted(second, 2), counted(successor, 1)]
    assert value(totals, "omnirelay_operations_total", QUERIES) == 4
    assert value(totals, "omnirelay_operation_seconds_count", {"type": "query"}) == 4
    assert value(totals, "omnirelay_subscriptions_open", {}) == 3
    assert value(totals, "omnirelay_feed_revision", {WORKER: "1"}) == 0


def test_a_worker_that_leaves_is_counted_but_not_named(workers: tuple[Metrics, Metrics]) -> None:
    old, new = workers
    totals = Totals()
    totals.leaving = [counted(old, 1)]
    totals.current = [counted(new, 1)]
    assert value(totals, "omnirelay_operations_total", QUERIES) == 3
    assert value(totals, "omnirelay_subscriptions_open", {}) == 5
    assert value(totals, "omnirelay_feed_revision", {WORKER: "1"}) == 8


def test_times_of_creation_are_not_added_up(workers: tuple[Metrics, Metrics]) -> None:
    alone, totals = Totals(), Totals()
    totals.current = [counted(metrics, number) for number, metrics in enumerate(workers, 1)]
    alone.current = totals.current[:1]
    created = ("omnirelay_operations_created", QUERIES)
    assert value(totals, *created) == value(alone, *created)


def test_what_is_of_the_store_is_that_of_the_worker_that_is_ahead() -> None:
    ahead, behind, leaving = (
        [
            GaugeMetricFamily("omnirelay_feed_revision", "", value=revision),
            GaugeMetricFamily("omnirelay_orphaned_shards", "", value=orphans),
        ]
        for revision, orphans in ((9, 3), (8, 2), (9, 5))
    )
    totals = Totals()
    supervisor = [GaugeMetricFamily("omnirelay_workers", "", value=2)]
    for current in ([supervisor, behind, ahead], [ahead, behind, supervisor]):
        totals.current, totals.leaving = current, [leaving]
        assert value(totals, "omnirelay_orphaned_shards", {}) == 3
        assert value(totals, "omnirelay_workers", {}) == 2


def test_pools_and_queues_are_added_up(workers: tuple[Metrics, Metrics]) -> None:
    for number, metrics in enumerate(workers, 1):
        metrics.groups.set(number)
        metrics.refusals.labels("NotFound").inc(number)
    totals = Totals()
    totals.current = [counted(metrics, number) for number, metrics in enumerate(workers, 1)]
    assert value(totals, "omnirelay_subscriber_groups", {}) == 3
    assert value(totals, "omnirelay_refusals_total", {"code": "NotFound"}) == 3
