"""What each request is answered while PostgreSQL is stopped, full, read-only, out of connections or gone.

docs/operations/troubleshoot.md has a table of it, which is read here and held against a real server.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from itertools import count, repeat
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx2
import pytest

from tests.support.length import rounds
from tests.support.own_postgres import OwnPostgres, own_postgres
from tests.support.real_server import RealServer, real_server

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "operations" / "troubleshoot.md"
HEADING: Final = "## While the database is away"
PATIENCE: Final = 60.0
"""Seconds until an answer must have become what the table says, and until all is well again after the fault."""

READS: Final = {
    "lookup": '{ shard(namespace: "orders", shardId: "s1") { ownerNodeId } }',
    "query": "{ namespaces { totalCount } }",
    "history": "{ shardHistory(first: 1) { nodes { revision } } }",
    "plan": "{ simulateRebalance(input: {}) { __typename } }",
}
CHANGE: Final = """
mutation ($id: String!) {
  createShards(input: {
    shards: [{namespace: "orders", shardId: $id, ownerNodeId: "node-1"}], change: {actor: "ops", reason: "a test"}
  }) { __typename }
}"""
END_OTHERS: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> ALL ($1)"""


@dataclass(frozen=True)
class Row:
    """What is stated of one fault, by the heading of the column."""

    fault: str
    cells: Mapping[str, str]

    def expected(self, request: str) -> str:
        """The codes in it, separated by a space; `data` where there is none."""
        return " ".join(re.findall(r"`([A-Z_]+)`", self.cells[request])) or "data"

    def seconds(self, request: str) -> float:
        """Within which it is answered."""
        found = re.search(r"within (\d+) s", self.cells[request])
        return float(found[1]) if found else 5.0


def table() -> list[Row]:
    text = DOCUMENT.read_text("utf-8").partition(HEADING)[2].partition("\n#")[0]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    heads, _, *rows = lines
    return [Row(row[0], dict(zip(heads[1:], row[1:], strict=True))) for row in rows]


@contextmanager
def stopped(postgres: OwnPostgres) -> Iterator[None]:
    with postgres.frozen():
        yield


@contextmanager
def gone(postgres: OwnPostgres) -> Iterator[None]:
    os.kill(postgres.pid, signal.SIGKILL)
    try:
        yield
    finally:
        postgres.restart()


@contextmanager
def read_only(postgres: OwnPostgres) -> Iterator[None]:
    asyncio.run(_set(postgres, "default_transaction_read_only = on"))
    try:
        yield
    finally:
        asyncio.run(_set(postgres, "default_transaction_read_only = off"))


@contextmanager
def out_of_connections(postgres: OwnPostgres) -> Iterator[None]:
    """All are another program's."""
    with asyncio.Runner() as runner:
        held = runner.run(_take_all(postgres))
        try:
            yield
        finally:
            for connection in held:
                connection.terminate()


@contextmanager
def closed(postgres: OwnPostgres) -> Iterator[None]:
    """Sessions that were open end, and none is let in any more."""
    with asyncio.Runner() as runner:
        keeper = runner.run(_keeper(postgres))
        try:
            yield
        finally:
            runner.run(keeper.execute("ALTER ROLE CURRENT_USER LOGIN"))
            keeper.terminate()


@contextmanager
def full(postgres: OwnPostgres) -> Iterator[None]:
    filling = postgres.folder / "filling"
    with filling.open("wb", buffering=0) as file, suppress(OSError):
        for _ in repeat(None):
            file.write(bytes(65_536))
    try:
        yield
    finally:
        filling.unlink()


FAULTS: Final[Mapping[str, Callable[[OwnPostgres], AbstractContextManager[None]]]] = {
    "stopped, or cut off (SIGSTOP)": stopped,
    "gone (`kill -9`)": gone,
    "read-only": read_only,
    "out of connections": out_of_connections,
    "closed to the server's role": closed,
    "on a full disk": full,
}


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Of a file system that is small where the test is of a full one."""
    if request.node.callspec.params["row"].fault != "on a full disk":
        yield tmp_path
        return
    mounted = subprocess.run(  # noqa: S603
        ["/bin/mount", "-t", "tmpfs", "-o", "size=160m,mode=755", "tmpfs", tmp_path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system to fill can be mounted by root alone")
    try:
        yield tmp_path
    finally:
        subprocess.run(["/bin/umount", "--lazy", tmp_path], check=True)  # noqa: S603


def test_the_table_has_every_fault() -> None:
    assert [row.fault for row in table()] == list(FAULTS)


def tried() -> list[Row]:
    """All of them under `make soak`; each takes half a minute of waiting, and these hold what the others do."""
    return table()[: rounds(len(FAULTS), 2)]


@pytest.mark.parametrize("row", tried(), ids=lambda row: FAULTS[row.fault].__name__)
def test_each_request_is_answered_as_the_table_says(row: Row, folder: Path) -> None:
    with own_postgres(folder / "data") as postgres, real_server(postgres.url) as server:
        _fill(server)
        requests = _Requests(server)
        requests.until(dict.fromkeys([*READS, "change"], "data"))
        with FAULTS[row.fault](postgres):
            taken = requests.until({name: row.expected(name) for name in ("change", *READS)})
            assert {name: seconds for name, seconds in taken.items() if seconds > row.seconds(name)} == {}
            assert requests.readiness() == row.cells["`/readyz`"]
        requests.until(dict.fromkeys([*READS, "change"], "data"))
        requests.until_ready()
        assert len(requests.created) == server.query("{ shards { totalCount } }")["totalCount"] - 1


class _Requests:
    """`created` are the shards whose creation was acknowledged."""

    def __init__(self, server: RealServer) -> None:
        self._server = server
        self._ids = count()
        self.created: list[str] = []

    def until(self, expected: Mapping[str, str]) -> dict[str, float]:
        """Each is answered so, all of them being sent at the same time: within how many seconds then."""
        deadline = time.monotonic() + PATIENCE
        with ThreadPoolExecutor(len(expected)) as clients:
            while True:
                answers = dict(zip(expected, clients.map(self.answer, expected), strict=True))
                found = {name: answer for name, (answer, _) in answers.items()}
                if found == expected:
                    return {name: seconds for name, (_, seconds) in answers.items()}
                assert time.monotonic() < deadline, (found, expected)

    def answer(self, name: str) -> tuple[str, float]:
        """The code and the reason, or `data`; and after how many seconds."""
        begun = time.monotonic()
        shard_id = f"new-{next(self._ids)}"
        body: dict[str, Any] = {"query": CHANGE, "variables": {"id": shard_id}}
        response = httpx2.post(
            f"{self._server.url}/graphql",
            json=body if name == "change" else {"query": READS[name]},
            headers={"accept": "application/json"},
            timeout=PATIENCE,
        ).json()
        seconds = time.monotonic() - begun
        if errors := response.get("errors"):
            extensions = errors[0]["extensions"]
            return " ".join(filter(None, [extensions["code"], extensions.get("reason")])), seconds
        if name == "change":
            self.created.append(shard_id)
        return "data", seconds

    def until_ready(self) -> None:
        """What only writes failed for is tried again by it after 10 seconds."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.readiness()) != "200":
            assert time.monotonic() < deadline, found

    def readiness(self) -> str:
        """The status, and why."""
        response = httpx2.get(f"{self._server.url}/readyz", timeout=10)
        reason = response.json().get("reason")
        return f"{response.status_code} {reason}" if reason else str(response.status_code)


def _fill(server: RealServer) -> None:
    change = {"actor": "ops", "reason": "set up"}
    for node_id in ("node-1", "node-2"):
        server.ask("RegisterNode", input={"nodeId": node_id, "change": change})
    server.ask("ConfigureNamespace", input={"name": "orders", "strategy": "rendezvous", "change": change})
    shard = {"namespace": "orders", "shardId": "s1", "ownerNodeId": "node-1"}
    server.change("CreateShards", "ShardsChanged", shards=[shard])


async def _set(postgres: OwnPostgres, setting: str) -> None:
    connection = await asyncpg.connect(postgres.url, server_settings={"default_transaction_read_only": "off"})
    try:
        await connection.execute(f"ALTER SYSTEM SET {setting}")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


async def _keeper(postgres: OwnPostgres) -> asyncpg.Connection:
    """A session of a superuser that outlives its role's right to log in."""
    keeper = await asyncpg.connect(postgres.url)
    await keeper.execute("ALTER ROLE CURRENT_USER NOLOGIN")
    await keeper.execute(END_OTHERS, [keeper.get_server_pid()])
    return keeper


async def _take_all(postgres: OwnPostgres) -> list[asyncpg.Connection]:
    """Until PostgreSQL has none left and none of them is the server's."""
    held = [await asyncpg.connect(postgres.url)]
    available = int(await held[0].fetchval("SHOW max_connections"))
    while len(held) < available:
        try:
            held.append(await asyncpg.connect(postgres.url))
        except asyncpg.TooManyConnectionsError:
            await held[0].execute(END_OTHERS, [connection.get_server_pid() for connection in held])
    return held
