"""A server with few descriptors goes on serving while a client takes as many connections as it gets."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Final
from urllib.parse import urlsplit

import httpx2
import pytest

DESCRIPTORS: Final = 256
SERVER: Final = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({DESCRIPTORS}, {DESCRIPTORS}))
from graph.cli import main
main()
"""
LOOKUP: Final = {"query": "{ shards(first: 1) { revision } }"}


@contextmanager
def server(database_url: str, workers: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = ["serve", "--port", "0", "--no-demo", "--database-url", database_url, "--workers", str(workers)]
    process = subprocess.Popen(  # noqa: S603 - this program
        [sys.executable, "-c", SERVER, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        found = re.fullmatch(r"GraphiQL +(http://127\.0\.0\.1:\d+)/graphql\n", process.stdout.readline())
        assert found
        yield process, found[1]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("workers", [1, 2])
def test_half_sent_requests_make_room_for_others(database_url: str, workers: int) -> None:
    with server(database_url, workers) as (process, url), ExitStack() as stack:
        address = urlsplit(url)
        for _ in range((DESCRIPTORS + 4) * workers):
            client = socket.create_connection((str(address.hostname), int(address.port or 0)))
            stack.enter_context(closing(client)).sendall(b"POST /graphql HTTP/1.1\r\nHost: lo")
        for _ in range(3):  # each over a connection of its own
            answer = httpx2.post(f"{url}/graphql", json=LOOKUP, timeout=60).json()
            assert answer == {"data": {"shards": {"revision": "0"}}}
        assert httpx2.get(f"{url}/readyz", timeout=60).status_code == 200
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    lines = [line for line in errors.splitlines() if "connections that this process has descriptors for" in line]
    assert len(lines) == workers
    assert "Traceback" not in errors
