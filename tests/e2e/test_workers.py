"""`omnirelay serve --workers 2`: what clients and operators notice of there being several processes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import asyncpg
import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from graph.cli.errors import Exit
from tests.support.command_line import omnirelay, started
from tests.support.real_server import RealServer, real_server

LOOKUP: Final = "{ shards(first: 1) { revision } }"
TIMEOUT_SECONDS: Final = 30.0
LARGEST_BODY: Final = 5_000
REPLACED: Final = "All workers have been replaced"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("settings") / "settings.toml"
    file.write_text("[namespaces.orders]\nstrategy = 'ring'\n")
    return file


@dataclass(frozen=True)
class Server(RealServer):
    """With the process id of the worker of each number, as the log had them when it was last read."""

    workers: dict[int, int] = field(default_factory=dict)

    def until(self, words: str) -> str:
        """The next line of the log that contains this."""
        while words not in (line := self.process.message()):
            if serving := re.search(r"worker (\d+) serves \(process (\d+)\)", line):
                self.workers[int(serving[1])] = int(serving[2])
        return line


@pytest.fixture(scope="module")
def server(module_database_url: str, config: Path) -> Iterator[Server]:
    # An idle connection is closed after a second by a worker that has a successor, not after five.
    environment = {"OMNIRELAY_DRAIN_SECONDS": "1", "OMNIRELAY_PLAN_PROCESSES": "1"}
    with real_server(module_database_url, "--workers", 2, "--config", config, environment=environment) as real:
        server = Server(real.process, real.url, real.http)
        server.until("Ready")
        server.change("RegisterNode", "NodeChanged", nodeId="node-1")
        yield server


def samples(server: Server) -> dict[tuple[str, str], float]:
    """Values by name and by the label that tells them apart: that of the worker, or the type of operations."""
    text = httpx2.get(f"{server.url}/metrics").text
    return {
        (sample.name, sample.labels.get("worker") or sample.labels.get("type") or ""): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def queries(server: Server) -> float:
    return samples(server).get(("omnirelay_operations_total", "query"), 0)


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

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_connections_are_shared_out_and_counted_together(server: Server) -> None:
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


def test_a_worker_that_is_killed_is_replaced_and_what_it_counted_stays(server: Server) -> None:
    for _ in range(4):
        httpx2.post(f"{server.url}/graphql", json={"query": LOOKUP})
    before = queries(server)
    os.kill(server.workers[2], signal.SIGKILL)
    assert f"worker 2 (process {server.workers[2]}) was" in server.until("was killed by SIGKILL; starting another")
    assert server.query(LOOKUP)
    server.until("worker 2 serves")
    assert queries(server) == before + 1
    assert samples(server)["omnirelay_workers", ""] == 2


def test_a_rolling_restart_fails_no_request_and_loses_no_diff(server: Server) -> None:
    names = [f"rolling-{number}" for number in range(20)]
    processes = set(server.workers.values())
    before = queries(server)
    watch = ("mesh", "shards", "watch", "--json", "--limit", len(names), "--server", server.url)
    with started(*watch) as watching:
        watching.message_with("Watching")
        with Load(server.url) as load:
            server.process.send(signal.SIGHUP)
            create(server, *names[:10])
            server.until(REPLACED)
            create(server, *names[10:])
        seen = [re.findall(r'"shardId":"([^"]+)"', watching.line())[0] for _ in names]
        assert watching.finish().exit == 0
    assert load.failures == []
    assert seen == names
    assert set(server.workers.values()).isdisjoint(processes)
    assert queries(server) >= before + load.answered


def create(server: Server, *names: str) -> None:
    for name in names:
        shard = {"namespace": "orders", "shardId": name, "ownerNodeId": "node-1"}
        server.change("CreateShards", "ShardsChanged", shards=[shard])


def test_a_worker_that_is_sent_sigterm_is_replaced(server: Server) -> None:
    with Load(server.url) as load:
        os.kill(server.workers[1], signal.SIGTERM)
        server.until("worker 1 serves")
    assert load.failures == []


def test_new_workers_have_the_settings_of_the_file(server: Server, config: Path) -> None:
    declared = config.read_text()
    body = {"query": LOOKUP, "variables": {"padding": "x" * LARGEST_BODY}}
    config.write_text(f"max_body_bytes = {LARGEST_BODY}\nwait_for_database_seconds = 1.0\n{declared}")
    server.process.send(signal.SIGHUP)
    server.until("Only a new start changes wait_for_database_seconds")
    server.until(REPLACED)
    assert httpx2.post(f"{server.url}/graphql", json=body).status_code == httpx2.codes.CONTENT_TOO_LARGE

    config.write_text("max_body_bytes = 'many'\n")
    server.process.send(signal.SIGHUP)
    server.until("The settings cannot be used, so no worker is restarted")
    assert server.query(LOOKUP)

    config.write_text(declared)
    server.process.send(signal.SIGHUP)
    server.until(REPLACED)
    assert httpx2.post(f"{server.url}/graphql", json=body).status_code == httpx2.codes.OK


def test_plans_of_all_workers_are_made_by_the_same_processes(server: Server) -> None:
    create(server, "planned")
    for _ in server.workers:
        explained = omnirelay("mesh", "shards", "explain", "orders", "planned", "--server", server.url)
        assert explained.exit == Exit.OK, explained
    missing = omnirelay("mesh", "shards", "explain", "orders", "nowhere", "--server", server.url)
    assert missing.exit == Exit.NOT_FOUND, missing


def test_workers_end_with_a_supervisor_that_is_killed(database_url: str) -> None:
    with started("serve", "--port", 0, "--no-demo", "--workers", 2, "--database-url", database_url) as supervisor:
        port = int(supervisor.line().split()[1].removesuffix("/graphql").rpartition(":")[2])
        with ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(2)]
            for client in clients:
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert client.recv(4_096).startswith(b"HTTP/1.1 200")
            supervisor.send(signal.SIGKILL)
            supervisor.finish()
            for client in clients:
                client.settimeout(TIMEOUT_SECONDS)
                assert client.recv(4_096) == b""


def test_a_worker_that_cannot_start_ends_the_start_with_its_message(database_url: str) -> None:
    """A role that may hold one connection: enough for the supervisor, not for a worker."""
    address = database_url.replace("postgresql+asyncpg", "postgresql")
    role = f"one_connection_{os.getpid()}"
    run_sql(address, f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1 IN ROLE postgres")
    try:
        options = ("--port", 0, "--no-demo", "--workers", 2, "--database-url", address.replace("postgres@", f"{role}@"))
        with started("serve", *options) as server:
            end = server.finish()
    finally:
        run_sql(address, f"DROP ROLE {role}")
    assert (end.exit, end.out) == (Exit.NO, "")
    assert "The server cannot run: the database" in end.err
    assert "Traceback" not in end.err


def run_sql(address: str, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(address)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())
