"""Three hundred clients request what the database is slow with, and hang up: the server does none of it for them."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.real_server import RealServer, real_server

CLIENTS: Final = 300
READS_AT_ONCE: Final = 3  # of 8 connections for reading two are left to others, and half of the rest to queries
WAITING: Final = 256
SLOW: Final = "{ refusals(first: 500) { nodes { id } } }"
LOOKUP: Final = "{ shards(first: 1) { revision } }"
QUERY: Final = "{ namespaces { totalCount } }"


@pytest.fixture
def server(database_url: str) -> Iterator[RealServer]:
    with real_server(database_url) as server:
        yield server


def counted(server: RealServer, name: str, workload: str = "history") -> float:
    text = server.http.get(f"{server.url}/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return next(
        it.value for it in samples if it.name == f"omnirelay_operations_{name}" and it.labels == {"workload": workload}
    )


def until(server: RealServer, value: float, name: str) -> None:
    """Each request lets the server run."""
    deadline = time.monotonic() + 30
    while (found := counted(server, name)) != value:
        assert time.monotonic() < deadline, (name, found)


def asked(server: RealServer, query: str) -> socket.socket:
    """A connection that this was sent over, and nothing read from."""
    address = urlsplit(server.url)
    connection = socket.create_connection((str(address.hostname), int(address.port or 0)))
    body = json.dumps({"query": query}).encode()
    head = f"POST /graphql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    connection.sendall(f"{head}\r\n\r\n".encode() + body)
    return connection


async def test_nothing_is_carried_out_for_clients_that_left(server: RealServer, database_url: str) -> None:
    database = await asyncpg.connect(database_url.replace("postgresql+asyncpg", "postgresql"))
    try:
        async with database.transaction():
            await database.execute("LOCK TABLE refusals IN ACCESS EXCLUSIVE MODE")
            with ExitStack() as clients:
                for _ in range(CLIENTS):
                    clients.enter_context(closing(asked(server, SLOW)))
                until(server, float(READS_AT_ONCE), "running")
                until(server, float(WAITING), "waiting")
                until(server, float(CLIENTS - READS_AT_ONCE - WAITING), "overloaded_total")
                # Behind the others it would wait for the lock, which is held for longer than its timeout.
                assert server.query(LOOKUP) == {"revision": "0"}
                assert server.query(QUERY) == {"totalCount": 0}
            until(server, 0.0, "waiting")
            until(server, 0.0, "running")
            until(server, float(READS_AT_ONCE + WAITING), "abandoned_total")
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%refusals%'"
            deadline = time.monotonic() + 30
            while await database.fetchval(waiting):
                assert time.monotonic() < deadline
            # None of what was given up is in the way of what comes now, nor are its connections.
            with closing(asked(server, SLOW)):
                until(server, 1.0, "running")
    finally:
        await database.close()
    assert server.query(SLOW) == {"nodes": []}
