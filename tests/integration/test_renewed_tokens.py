"""Clients go on with a new token when the one they have is not taken any more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pytest

from graph.auth.principal import Scope
from graph.cli.errors import Exit
from graph.client import MeshClient, OperationRefused, State, token_file
from graph.client.address import read_address
from graph.client.errors import ConnectionLost
from graph.client.http import Requests
from graph.client.reconnect import follow
from graph.client.records import Json
from graph.client.subscription import subscribe
from tests.support.command_line import omnirelay
from tests.support.mesh import Mesh, new
from tests.support.mesh_server import MeshServer
from tests.support.secret_file import write_secret
from tests.support.tokens import shared_secret, soon, token

SECONDS = 20.0
EXPIRED = token(Scope.READ, exp=1)
GOOD = token(Scope.READ)


class Issuer:
    """A server, and a token that is good for two or three seconds from when it is first asked for."""

    def __init__(self) -> None:
        self.server = MeshServer(shared_secret())

    @cached_property
    def short(self) -> str:
        return token(Scope.READ, exp=soon())


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    with issuer.server as server:
        server.run(fill(server.mesh))
        yield issuer


async def fill(mesh: Mesh) -> None:
    await mesh.configure("orders")
    await mesh.create(new("s1", namespace="orders"))


async def add(mesh: Mesh) -> None:
    await mesh.create(new("s2", namespace="orders"))


def test_a_refused_request_is_sent_again_with_a_new_token_and_once_only(issuer: Issuer) -> None:
    asked: list[str] = []

    def source() -> str:
        asked.append(EXPIRED if len(asked) < 2 else GOOD)
        return asked[-1]

    address = replace(read_address(issuer.server.url), token=source)
    with Requests(address) as requests:
        with pytest.raises(OperationRefused, match="the token has expired") as refused:
            requests.execute("StreamHead", {})
        assert refused.value.code == "UNAUTHENTICATED"
        assert requests.execute("StreamHead", {})["head"]["revision"] == "1"
        requests.execute("StreamHead", {})
    assert asked == [EXPIRED, EXPIRED, GOOD]


def test_watching_goes_on_with_what_the_file_holds_when_the_token_expires(issuer: Issuer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    write_secret(file, issuer.short)
    address = replace(read_address(issuer.server.url), token=token_file(file))
    told: list[str] = []

    def opened(cursor: str | None) -> Iterator[Json]:
        return subscribe(address, "WatchShards", {"namespace": "orders", "after": cursor})

    with closing(follow(address, opened, None, lambda _: None, told.append)) as batches:
        next(batches)
        write_secret(file, GOOD)
        while not told:
            next(batches)
        issuer.server.run(add(issuer.server.mesh))
        diffs = next(batch["diffs"] for batch in batches if batch["diffs"])
    assert [diff["shardId"] for diff in diffs] == ["s2"]
    assert told[0] == (
        "Interrupted: the server closed the connection (4403: Forbidden: the token has expired). "
        "Trying again; nothing will be missed."
    )


def test_a_token_that_cannot_be_renewed_ends_watching(issuer: Issuer) -> None:
    address = replace(read_address(issuer.server.url), token=lambda: issuer.short)
    with pytest.raises(ConnectionLost, match="4403"):
        for _ in subscribe(address, "WatchShards", {}):
            pass
    with pytest.raises(OperationRefused, match=r"^the token has expired$") as refused:
        next(subscribe(address, "WatchShards", {}))
    assert refused.value.code == "UNAUTHENTICATED"


def test_a_mesh_node_goes_on_with_a_new_token(issuer: Issuer) -> None:
    tokens = iter([issuer.short, issuer.short])
    with MeshClient(issuer.server.url, token=lambda: next(tokens, GOOD)) as mesh:
        assert mesh.wait_until(lambda: mesh.counters.connections > 1 and mesh.state is State.LIVE, SECONDS)
        issuer.server.run(add(issuer.server.mesh))
        mesh.wait_for(2, SECONDS)
        assert mesh.owner("orders", "s2") == "node-a"


def test_a_mesh_node_without_a_good_token_is_told_at_once(issuer: Issuer) -> None:
    for bad in (EXPIRED, None):
        with pytest.raises(OperationRefused, match="token"), MeshClient(issuer.server.url, token=bad):
            pass


def test_a_change_is_by_the_subject_of_the_token(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIRELAY_SERVER", issuer.server.url)
    monkeypatch.setenv("OMNIRELAY_TOKEN", token(Scope.OPERATE, sub="carol"))
    command = ("mesh", "nodes", "register", "node-1", "--reason", "more room")
    other = omnirelay(*command, "--actor", "mallory")
    assert (other.exit, other.err.splitlines()[0]) == (
        Exit.INVALID,
        "Refused: --actor must be the token's subject or left out, not 'mallory'.",
    )
    made = omnirelay(*command, "--json")
    assert made.document["change"]["actor"] == "carol"
