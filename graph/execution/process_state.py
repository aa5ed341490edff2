"""Metrics that are read where they stand when metrics are collected: commits, connections, the replica, the mesh.

What takes a query is read before, by `refresh`; nothing here looks at each shard.
"""

from __future__ import annotations

import asyncio
import math
import platform
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from graph.execution.services import Services
from persistence.errors import StoreError
from persistence.model.paging import PageRequest
from persistence.model.queries import NodeFilter
from persistence.model.records import NodeStatus
from persistence.replica.sorted_table import BYTES_A_SHARD
from persistence.service.statistics import Histogram

MOST_NODES: Final = 500
"""That are labels: of more, the ones that own most; the others are `other`."""

_PAGE: Final = 500

_MOST_PAGES: Final = 40

_TIMEOUT_SECONDS: Final = 1.5


class ProcessState(Collector):
    """Of the process that has these services open."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._nodes: dict[str, NodeStatus] | None = None

    async def refresh(self) -> None:
        """Read what nodes there are; none are known where that fails, or takes too long."""
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                self._nodes = await self._read_nodes()
        except (StoreError, TimeoutError):
            self._nodes = None

    async def _read_nodes(self) -> dict[str, NodeStatus]:
        """Raises StoreError."""
        nodes: dict[str, NodeStatus] = {}
        after: str | None = None
        for _ in range(_MOST_PAGES):
            request = PageRequest(_PAGE, after=after)
            page = await self._services.store.nodes.page(NodeFilter(), request, shards_counted=False)
            nodes |= {node.node_id: node.status for node in page.items}
            if not page.has_next:
                break
            after = page.items[-1].node_id
        return nodes

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            "omnirelay_build_info", "1; which program this is, in its labels.", labels=("version", "python_version")
        )
        build.add_metric((_version(), platform.python_version()), 1)
        yield build
        yield from self._commits()
        yield from self._pools()
        yield from self._replica()
        yield GaugeMetricFamily(
            "omnirelay_plan_jobs",
            "Jobs that the processes that plan have, waiting ones among them.",
            self._services.plan_jobs(),
        )
        yield from self._mesh()

    def _commits(self) -> Iterator[Metric]:
        statistics = self._services.writer.statistics
        yield _histogram(
            "omnirelay_commit_changes",
            "Changes of each transaction that this process committed; the processes that plan commit their own.",
            statistics.changes,
        )
        yield _histogram(
            "omnirelay_commit_seconds",
            "Time of each of these, from the reading of what it is decided on to the answer of its commit.",
            statistics.seconds,
        )
        yield _histogram(
            "omnirelay_commit_wait_seconds",
            "Time that each small change waited for the commit before it to end.",
            statistics.waited,
        )
        yield GaugeMetricFamily(
            "omnirelay_commit_queue_changes", "Small changes that wait for that now.", statistics.waiting()
        )
        yield CounterMetricFamily(
            "omnirelay_commits_retried",
            "Transactions that met another change, and were tried again.",
            statistics.retried,
        )

    def _pools(self) -> Iterator[Metric]:
        connections = GaugeMetricFamily(
            "omnirelay_pool_connections",
            "Connections to the database, by pool (read, write) and state (in_use, idle).",
            labels=("pool", "state"),
        )
        waiting = GaugeMetricFamily(
            "omnirelay_pool_waiting", "Requests that wait for a connection, by pool.", labels=("pool",)
        )
        for name, state_of in self._services.store.pools.items():
            state = state_of()
            connections.add_metric((name, "in_use"), state.in_use)
            connections.add_metric((name, "idle"), state.idle)
            waiting.add_metric((name,), state.waiting)
        yield connections
        yield waiting

    def _replica(self) -> Iterator[Metric]:
        table = None if self._services.replica is None else self._services.replica.table
        shards = 0 if table is None else len(table)
        yield GaugeMetricFamily(
            "omnirelay_replica_shards",
            "Shards in the table that lookups are answered from; 0 while there is none.",
            shards,
        )
        yield GaugeMetricFamily(
            "omnirelay_replica_bytes",
            "Memory of that table, estimated by its number of shards.",
            shards * BYTES_A_SHARD,
        )
        yield GaugeMetricFamily(
            "omnirelay_replica_age_seconds",
            "For how long it is not certain that everything committed has been received: a second or less while all is "
            "well. Beyond 2 lookups are answered by the database.",
            self._services.feed.age_seconds,
        )

    def _mesh(self) -> Iterator[Metric]:
        table = None if self._services.replica is None else self._services.replica.table
        owned = {} if table is None else table.owned
        shards = GaugeMetricFamily(
            "omnirelay_shards",
            f"Shards by the node that owns them and by their status. The {MOST_NODES} nodes that own most have a name, "
            "the others are `other`. Absent while lookups are not answered from memory.",
            labels=("node", "status"),
        )
        by_node: Counter[str] = Counter()
        for (node, _), count in owned.items():
            by_node[node] += count
        named = set(by_node) if len(by_node) <= MOST_NODES else {node for node, _ in by_node.most_common(MOST_NODES)}
        counts: Counter[tuple[str, str]] = Counter()
        for (node, status), count in owned.items():
            counts[node if node in named else "other", status.value] += count
        for labels, count in counts.items():
            shards.add_metric(labels, count)
        yield shards
        orphans = math.nan
        nodes = self._nodes
        if table is not None and nodes is not None:
            orphans = sum(count for node, count in by_node.items() if node not in nodes)
        yield GaugeMetricFamily(
            "omnirelay_orphaned_shards",
            "Shards whose owner is not registered, or was removed; NaN while that is not known.",
            orphans,
        )
        registered = GaugeMetricFamily("omnirelay_nodes", "Registered nodes by status.", labels=("status",))
        for registered_as, count in Counter((nodes or {}).values()).items():
            registered.add_metric((registered_as.value,), count)
        yield registered


def _histogram(name: str, documentation: str, counted: Histogram) -> Metric:
    total, buckets = 0, []
    for bound, count in zip((*counted.bounds, math.inf), counted.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == math.inf else str(float(bound)), float(total)))
    return HistogramMetricFamily(name, documentation, buckets, counted.total)


def _version() -> str:
    try:
        return version("omnirelay-shards")
    except PackageNotFoundError:
        return "unknown"
