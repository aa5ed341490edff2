"""docs/metrics.md lists every metric as it is, and all of them keep to Prometheus' conventions."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from prometheus_client import Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from graph.execution.metrics import OF_THE_STORE, Metrics
from graph.execution.process_state import MOST_NODES, ProcessState
from graph.server.exposition import WORKER
from graph.server.supervisor import SupervisorMetrics
from persistence.commands.nodes import RegisterNode
from persistence.feed.live import live_feed
from persistence.ports.store import PoolState
from persistence.replica.replica import following
from tests.reference.store import memory_store
from tests.support.graphql_api import services_of
from tests.support.mesh import CHANGE, Mesh, new

PAGE: Final = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
ROW: Final = re.compile(r"^\| `(omnirelay_\w+)` \| (\w+) \| ([^|]*)\| (\w+) \| .+ \|$", re.MULTILINE)
OF_A_WORKER: Final = {"omnirelay_connections_open"}
"""Added where its server is: tests/e2e/test_workers.py."""


class Kind(NamedTuple):
    kind: str
    labels: frozenset[str]
    workers: str


@pytest.fixture
async def families() -> AsyncIterator[Sequence[Metric]]:
    """Of a worker that has counted one of everything."""
    mesh = Mesh(memory_store())
    await mesh.configure()
    await mesh.create(new("s1"))
    await mesh.execute(RegisterNode("node-b", CHANGE))
    metrics, supervisor = Metrics(), SupervisorMetrics(None)
    for each in (*vars(metrics).values(), *vars(supervisor).values()):
        names = getattr(each, "_labelnames", ())
        if names:
            each.labels(*("x" for _ in names))
    store = replace(mesh.store, pools={"read": lambda: PoolState(1, 2, 3)})
    async with live_feed(store.stream, store.signal) as feed, following(store.shards, feed) as replica:
        await replica.ready()
        state = ProcessState(replace(services_of(store, mesh.writer, feed), replica=replica))
        await state.refresh()
        metrics.add(state)
        yield [*metrics.snapshot({WORKER: "1"}), *supervisor.own()]


def kinds_of(families: Sequence[Metric]) -> Mapping[str, Kind]:
    found = {}
    for family in families:
        if not family.name.startswith("omnirelay_"):
            continue
        labels = {name for sample in family.samples for name in sample.labels if not sample.name.endswith("_created")}
        workers = "each" if WORKER in labels else "one" if family.name in OF_THE_STORE else "sum"
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found[name] = Kind(family.type, frozenset(labels - {WORKER, "le"}), workers)
    return found


def test_every_metric_is_listed_as_it_is_and_no_other(families: Sequence[Metric]) -> None:
    rows = ROW.findall(PAGE)
    assert len(rows) == PAGE.count("\n| `omnirelay_")
    listed = {
        name: Kind(kind, frozenset(re.findall(r"`(\w+)`", labels)), workers) for name, kind, labels, workers in rows
    }
    for name in OF_A_WORKER:
        assert listed.pop(name) == Kind("gauge", frozenset(), "each")
    assert listed == kinds_of(families)


def test_names_keep_to_the_conventions(families: Sequence[Metric]) -> None:
    """Those that `promtool check metrics` holds them to, and base units at the end."""
    for family in families:
        name = family.name
        if not name.startswith("omnirelay_"):
            continue
        assert family.documentation.endswith("."), name
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name), name
        assert not name.endswith(("_total", "_count", "_sum", "_bucket", "_info")) or name.endswith("build_info"), name
        assert not re.search(
            r"(^|_)(ms|milliseconds|minutes|kb|mb|kilobytes|percent|histogram|gauge|counter)(_|$)", name
        )
        for unit in ("seconds", "bytes"):
            assert unit not in name.split("_")[:-1], name
        for sample in family.samples:
            assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", label) for label in sample.labels), name


def test_what_is_exposed_can_be_read_again(families: Sequence[Metric]) -> None:
    class Given:
        def collect(self) -> Sequence[Metric]:
            return families

    text = generate_latest(Given()).decode()
    read = {family.name: family for family in text_string_to_metric_families(text)}
    assert read["omnirelay_commit_changes"].type == "histogram"
    buckets = [sample for sample in read["omnirelay_commit_changes"].samples if sample.name.endswith("_bucket")]
    assert buckets[-1].labels["le"] == "+Inf"
    assert [bucket.value for bucket in buckets] == sorted(bucket.value for bucket in buckets)
    assert math.isclose(read["omnirelay_orphaned_shards"].samples[0].value, 1.0)


async def test_nodes_beyond_the_bound_have_no_name_of_their_own() -> None:
    mesh = Mesh(memory_store())
    await mesh.configure()
    await mesh.create(*(new(f"s{number}", f"node-{number}") for number in range(MOST_NODES + 7)))
    store = mesh.store
    async with live_feed(store.stream, store.signal) as feed, following(store.shards, feed) as replica:
        await replica.ready()
        state = ProcessState(replace(services_of(store, mesh.writer, feed), replica=replica))
        (shards,) = [family for family in state.collect() if family.name == "omnirelay_shards"]
    assert len(shards.samples) == MOST_NODES + 1
    assert {sample.value for sample in shards.samples if sample.labels["node"] == "other"} == {7}
