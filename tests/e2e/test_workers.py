"""`omnirelay serve --workers 2`: what clients and operators notice of there being several processes."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from os import kill
from pathlib import Path
from typing import Final

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.command_line import omnirelay, started
from tests.support.real_server import RealServer, real_server

LOOKUP: Final = "{ shards(first: 1) { revision } }"
TIMEOUT_SECONDS: Final = 30.0
LARGEST_BODY: Final = 5_000

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("settings") / "settings.toml"
    file.write_text("[namespaces.orders]\nstrategy = 'ring'\n")
    return file


@pytest.fixture(scope="module")
def server(module_database_url: str, config: Path) -> Iterator[RealServer]:
    # An idle connection is closed after a second by a worker that has a successor, not after five.
    environment = {"OMNIRELAY_DRAIN_SECONDS": "1"}
    with real_server(module_database_url, "--workers", 2, "--config", config, environment=environment) as server:
        server.change("RegisterNode", "NodeChanged", nodeId="node-1")
        yield server


@pytest.fixture
def processes(server: RealServer) -> dict[int, int]:
    """Process ids of workers. These are new, and so nothing that an earlier test did is in the log."""
    server.process.send(signal.SIGHUP)
    return replaced(server)


def replaced(server: RealServer) -> dict[int, int]:
    """Of the next workers that serve, by number."""
    found = {}
    while "All workers have been replaced" not in (line := server.process.message()):
        if serving := re.search(r"worker (\d+) serves \(process (\d+)\)", line):
            found[int(serving[1])] = int(serving[2])
    return found


def samples(server: RealServer) -> dict[tuple[str, str], float]:
    """Values by name and by the label that tells them apart: that of the worker, or the type of operations."""
    text = httpx2.get(f"{server.url}/metrics").text
    return {
        (sample.name, sample.labels.get("worker") or sample.labels.get("type") or ""): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def queries(server: RealServer) -> float:
    return samples(server).get(("omnirelay_operations_total", "query"), 0)


def eventually_refused(url: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    with suppress(httpx2.ConnectError):
        while True:
            assert time.monotonic() < deadline
            httpx2.get(f"{url}/healthz")


class Load:
    """Requests from threads, over connections that are kept and over new ones, until it is left. None may fail."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/graphql"
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(kept,)) for kept in (True, True, False)]
        self.answered = 0
        self.failures: list[object] = []

    def _ask(self, kept: bool) -> None:  # noqa: FBT001 - of a thread
        with httpx2.Client() as http:
            while not self._stop.is_set():
                try:
                    answer = (http.post if kept else httpx2.post)(self._url, json={"query": LOOKUP}).json()
                    assert "errors" not in answer, answer
                except Exception as error:  # noqa: BLE001 - any
                    self.failures.append(error)
                self.answered += 1

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_connections_are_shared_out_and_counted_together(server: RealServer) -> None:
    before = queries(server)
    with ExitStack() as stack:
        for _ in range(10):
            http = stack.enter_context(httpx2.Client())
            assert http.post(f"{server.url}/graphql", json={"query": LOOKUP}).json()["data"]
        found = samples(server)
    assert found["omnirelay_operations_total", "query"] == before + 10
    assert found["omnirelay_workers", ""] == 2
    assert found["omnirelay_connections_open", "1"] >= 5
    assert found["omnirelay_connections_open", "2"] >= 5
    assert {("omnirelay_feed_revision", "1"), ("omnirelay_feed_revision", "2")} <= found.keys()


def test_a_worker_that_is_killed_is_replaced_and_what_it_counted_stays(
    server: RealServer, processes: dict[int, int]
) -> None:
    for _ in range(4):
        httpx2.post(f"{server.url}/graphql", json={"query": LOOKUP})
    before = queries(server)
    kill(processes[2], signal.SIGKILL)
    assert "was killed by SIGKILL; starting another" in server.process.message_with("worker 2")
    assert server.query(LOOKUP)
    server.process.message_with("worker 2 serves (process")
    assert queries(server) == before + 1
    assert samples(server)["omnirelay_workers", ""] == 2


def test_a_rolling_restart_fails_no_request_and_loses_no_diff(server: RealServer) -> None:
    names = [f"rolling-{number}" for number in range(20)]
    before = queries(server)
    watch = ("mesh", "shards", "watch", "--json", "--limit", len(names), "--server", server.url)
    with started(*watch) as watching:
        watching.message_with("Watching")
        with Load(server.url) as load:
            server.process.send(signal.SIGHUP)
            create(server, *names[:10])
            successors = replaced(server)
            create(server, *names[10:])
        seen = [re.findall(r'"shardId":"([^"]+)"', watching.line())[0] for _ in names]
        assert watching.finish().exit == 0
    assert load.failures == []
    assert seen == names
    assert successors.keys() == {1, 2}
    assert queries(server) >= before + load.answered


def create(server: RealServer, *names: str) -> None:
    for name in names:
        shard = {"namespace": "orders", "shardId": name, "ownerNodeId": "node-1"}
        server.change("CreateShards", "ShardsChanged", shards=[shard])


def test_a_worker_that_is_sent_sigterm_is_replaced(server: RealServer, processes: dict[int, int]) -> None:
    with Load(server.url) as load:
        kill(processes[1], signal.SIGTERM)
        server.process.message_with("worker 1 serves (process")
    assert load.failures == []


def test_new_workers_have_the_settings_of_the_file(server: RealServer, config: Path) -> None:
    declared = config.read_text()
    body = {"query": LOOKUP, "variables": {"padding": "x" * LARGEST_BODY}}
    config.write_text(f"max_body_bytes = {LARGEST_BODY}\nwait_for_database_seconds = 1.0\n{declared}")
    server.process.send(signal.SIGHUP)
    server.process.message_with("Only a new start changes wait_for_database_seconds")
    replaced(server)
    assert httpx2.post(f"{server.url}/graphql", json=body).status_code == httpx2.codes.REQUEST_ENTITY_TOO_LARGE

    config.write_text("max_body_bytes = 'many'\n")
    server.process.send(signal.SIGHUP)
    server.process.message_with("The settings cannot be used, so no worker is restarted")
    assert server.query(LOOKUP)

    config.write_text(declared)
    server.process.send(signal.SIGHUP)
    replaced(server)
    assert httpx2.post(f"{server.url}/graphql", json=body).status_code == httpx2.codes.OK


def test_workers_end_with_a_supervisor_that_is_killed(database_url: str) -> None:
    with started("serve", "--port", 0, "--no-demo", "--workers", 2, "--database-url", database_url) as server:
        url = server.line().split()[1].removesuffix("/graphql")
        workers = [int(server.message_with("serves (process").rpartition(" ")[2][:-1]) for _ in range(2)]
        server.send(signal.SIGKILL)
        server.finish()
        eventually_refused(url)
        assert workers


@contextmanager
def planning(database_url: str) -> Iterator[RealServer]:
    with real_server(database_url, "--workers", 2, environment={"OMNIRELAY_PLAN_PROCESSES": "1"}) as server:
        yield server


def test_plans_of_all_workers_are_made_by_the_same_processes(database_url: str) -> None:
    with planning(database_url) as server:
        server.change("ConfigureNamespace", "NamespaceConfigured", name="orders", strategy="ring", expectedVersion="0")
        server.change("RegisterNode", "NodeChanged", nodeId="node-1")
        shard = {"namespace": "orders", "shardId": "s1", "ownerNodeId": "gone"}
        server.change("CreateShards", "ShardsChanged", shards=[shard])
        for _ in range(2):
            answer = omnirelay("mesh", "shards", "explain", "orders", "s1", "--server", server.url)
            assert answer.exit == 0, answer
