"""A foreign page whose name was made to resolve to this machine may not use the browser to get in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from graph.cli.errors import Exit
from graph.http.app import create_app
from graph.settings import load_settings
from persistence.feed.live import live_feed
from persistence.service.executor import CommandExecutor
from tests.reference.store import memory_store
from tests.support.command_line import omnirelay
from tests.support.graphql_api import services_of
from tests.support.mesh_server import MeshServer
from tests.support.serving import serving

OURS = ["127.0.0.1:8080", "localhost", "[::1]:8080", "LOCALHOST:1"]
OTHERS = [
    "evil.example",
    "127.0.0.1.evil.example",
    "evil.example:127.0.0.1",
    "localhost@evil.example",
    "10.1.2.3:8080",
    "[::1]evil.example",
    "[::1",
    "::1",
    "local host",
    "",
]
QUERY = {"query": "{ __typename }"}


@asynccontextmanager
async def server(hosts: Sequence[str] = load_settings(None, {}).allowed_hosts) -> AsyncIterator[httpx2.AsyncClient]:
    store = memory_store()
    async with live_feed(store.stream, store.signal) as feed:
        app = create_app(services_of(store, CommandExecutor(store.unit_of_work), feed), allowed_hosts=hosts)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://x") as http:
            yield http


@pytest.mark.parametrize("host", OURS)
async def test_requests_addressed_to_this_machine_are_answered(host: str) -> None:
    async with server() as http:
        assert (await http.post("/graphql", json=QUERY, headers={"host": host})).status_code == 200


@pytest.mark.parametrize("path", ["/graphql", "/healthz"])
async def test_two_host_headers_are_one_too_many(path: str) -> None:
    """A proxy before this server may have gone by the other one."""
    async with server() as http:
        refused = await http.post(path, json=QUERY, headers=[("host", "localhost"), ("host", "localhost")])
        assert (refused.status_code, refused.json()["errors"][0]["extensions"]["code"]) == (400, "BAD_REQUEST")
        assert refused.headers["x-request-id"]


@pytest.mark.parametrize("host", OTHERS)
async def test_requests_addressed_elsewhere_are_refused_with_the_setting(host: str) -> None:
    async with server() as http:
        for refused in (
            await http.post("/graphql", json=QUERY, headers={"host": host}),
            await http.get("/graphql", headers={"host": host, "accept": "text/html"}),
            await http.get("/nothing", headers={"host": host}),
        ):
            assert (refused.status_code, refused.headers["content-type"]) == (421, "application/json")
            assert refused.headers["x-request-id"]
            (error,) = refused.json()["errors"]
            assert error["extensions"] == {"code": "MISDIRECTED"}
            assert f"does not answer to the host {host!r}" in error["message"]
            assert "allowed_hosts (OMNIRELAY_ALLOWED_HOSTS)" in error["message"]


@pytest.mark.parametrize("host", OTHERS)
async def test_probes_and_metrics_are_answered_whatever_host_they_are_asked_of(host: str) -> None:
    async with server() as http:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await http.get(path, headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("a.mesh.example", 200), ("b.a.MESH.example:1", 200), ("mesh.example", 421), ("amesh.example", 421)],
)
async def test_a_pattern_allows_every_name_below_it(host: str, status: int) -> None:
    async with server(["*.mesh.example"]) as http:
        assert (await http.post("/graphql", json=QUERY, headers={"host": host})).status_code == status


async def test_a_star_allows_every_name() -> None:
    async with server(["*"]) as http:
        assert (await http.post("/graphql", json=QUERY, headers={"host": "evil.example"})).status_code == 200


async def test_a_socket_addressed_elsewhere_is_refused_in_its_handshake() -> None:
    store = memory_store()
    async with live_feed(store.stream, store.signal) as feed:
        app = create_app(services_of(store, CommandExecutor(store.unit_of_work), feed), allowed_hosts=["mesh.example"])
        async with serving(app) as address:
            for path in ("graphql", "healthz"):
                with pytest.raises(InvalidStatus) as caught:
                    await connect(f"ws://{address}/{path}")
                assert caught.value.response.status_code == 421


@pytest.mark.parametrize("command", [("shards", "list"), ("shards", "watch")])
def test_a_command_says_which_setting_refuses_its_host(command: tuple[str, str]) -> None:
    with MeshServer(allowed_hosts=("mesh.example",)) as server:
        refused = omnirelay("mesh", *command, "--server", server.url)
    assert refused.exit == Exit.UNAVAILABLE
    host = server.url.removeprefix("http://")
    assert f"This server does not answer to the host '{host}'." in refused.err
    assert "OMNIRELAY_ALLOWED_HOSTS" in refused.err
    assert "--server" in refused.err
