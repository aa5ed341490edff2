"""kill -9 of the server process, on the embedded PostgreSQL: the next one finds everything."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from graph.embedded_postgres.postmaster import read_pid_file
from tests.support.command_line import Running, omnirelay, started


@contextmanager
def serving(data_dir: Path) -> Iterator[tuple[Running, str]]:
    """The process of a server on its own PostgreSQL, and its address."""
    with started("serve", "--port", "0", "--data-dir", data_dir) as server:
        address = re.fullmatch(r"GraphiQL +(http://127\.0\.0\.1:\d+)/graphql", server.line())
        assert address
        yield server, address[1]


def test_the_next_server_finds_what_the_killed_one_had_acknowledged(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, url):
        before = omnirelay("mesh", "shards", "list", "--json", "--server", url).document
        moved = omnirelay(
            "mesh", "shards", "set", "orders", "orders-007", "--expected-version", 1, "--owner", "node-eu-2",
            "--reason", "spread load", "--ticket", "CHG-2001", "--server", url,
        )  # fmt: skip
        assert moved.exit == 0, moved.err
        server.send(signal.SIGKILL)
        assert server.finish().exit == -signal.SIGKILL
    with serving(tmp_path) as (server, url):
        after = omnirelay("mesh", "shards", "list", "--json", "--server", url).document
        assert int(after["revision"]) == int(before["revision"]) + 1
        changed = [shard for shard in after["shards"] if shard not in before["shards"]]
        assert [(shard["shardId"], shard["ownerNodeId"], shard["version"]) for shard in changed] == [
            ("orders-007", "node-eu-2", "2")
        ]
        # A cursor from before is still good: it is the same stream.
        watch = omnirelay(
            "mesh", "shards", "watch", "--after", before["cursor"], "--limit", 1, "--json", "--server", url
        )
        assert [document["shardId"] for document in watch.documents] == ["orders-007"], watch
        server.send(signal.SIGTERM)
        assert server.finish().exit == 0


def test_the_embedded_postgresql_is_started_again_when_it_dies_under_a_server(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, url):
        before = omnirelay("mesh", "shards", "list", "--json", "--server", url).document
        for _ in range(2):
            found = read_pid_file(tmp_path / "postgres" / "cluster")
            assert found is not None
            os.kill(found.pid, signal.SIGKILL)
            server.message_with("has died; starting it again")
            server.message_with("PostgreSQL is up again (")
        moved = omnirelay(
            "mesh", "shards", "set", "orders", "orders-007", "--expected-version", 1, "--owner", "node-eu-2",
            "--reason", "spread load", "--ticket", "CHG-2001", "--server", url,
        )  # fmt: skip
        assert moved.exit == 0, moved.err
        after = omnirelay("mesh", "shards", "list", "--json", "--server", url).document
        assert int(after["revision"]) == int(before["revision"]) + 1
        server.send(signal.SIGTERM)
        assert server.finish().exit == 0
    assert not (tmp_path / "postgres" / "cluster" / "postmaster.pid").exists(), "it was stopped with its server"
