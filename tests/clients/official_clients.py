"""The clients that others wrote, against this server: closed for now, they come back; closed for good, they end; what
is refused they hear with its message. Beside them `followShards` of @omnirelay/mesh-queries, as it is built.

Not among the tests of `make test`, for it needs Node: `make clients`. docs/graphql-api.md, Closing.
"""

from __future__ import annotations

import asyncio
import json
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import pytest

from graph.auth.principal import Scope
from graph.auth.tokens import Authentication
from graph.close_codes import CloseCode
from graph.http import endpoint as http
from graph.http.app import create_app
from graph.operations import Trust
from graph.server.websocket_protocol import WebSocketProtocol
from persistence.feed.live import live_feed
from tests.reference.store import memory_store
from tests.support.graphql_api import services_of
from tests.support.mesh import Mesh, new
from tests.support.mesh_server import MeshServer
from tests.support.serving import serving
from tests.support.tokens import OTHER_SECRET, shared_secret, signed, soon, token

FOLDER: Final = Path(__file__).parent
SECONDS: Final = 30.0


class Client:
    """A program of this folder, and the events it prints."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def event(self) -> Any:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), SECONDS)
        assert line, "the client has ended"
        return json.loads(line)

    async def until(self, wanted: Callable[[Any], bool]) -> Any:
        while not wanted(event := await self.event()):
            pass
        return event

    async def closed(self) -> int:
        """The code that its socket was closed with; errors of connecting meanwhile are not looked at."""
        return int((await self.until(lambda event: event[0] == "closed"))[1])

    async def revisions(self, count: int) -> list[str]:
        found: list[str] = []
        while len(found) < count:
            found += (await self.until(lambda event: event[0] == "revisions"))[1:]
        return found

    async def following(self) -> None:
        """Connected, and the first batch is there."""
        await self.until(lambda event: event == ["connected"])
        await self.until(lambda event: event[0] == "revisions")

    async def over(self) -> Any:
        return (await self.until(lambda event: event[0] == "over"))[1]

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)


@asynccontextmanager
async def client(program: str, *arguments: str) -> AsyncIterator[Client]:
    process = await asyncio.create_subprocess_exec("node", FOLDER / program, *arguments, stdout=PIPE)
    try:
        yield Client(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def graphql_ws(address: str, **options: Any) -> Any:
    return client("graphql_ws.mjs", address, json.dumps(options))


@asynccontextmanager
async def mesh_at(
    authentication: Authentication | None = None,
    *,
    ping_seconds: float = 20.0,
    max_body_bytes: int = 2**20,
    trust: Trust = "prefer",
) -> AsyncIterator[tuple[str, Mesh]]:
    store = memory_store()
    mesh = Mesh(store)
    await mesh.configure()
    async with live_feed(store.stream, store.signal) as feed:
        services = services_of(store, mesh.writer, feed)
        app = create_app(
            services, authentication=authentication, max_body_bytes=max_body_bytes, trusted_documents=trust
        )
        async with serving(app, ping_seconds=ping_seconds) as address:
            yield address, mesh


async def test_after_a_restart_it_goes_on_where_it_was() -> None:
    with MeshServer() as server:
        server.run(server.mesh.configure())
        async with graphql_ws(server.url.removeprefix("http://")) as following:
            await following.following()
            server.run(server.mesh.create(new("a")))
            assert await following.revisions(1) == ["1"]
            await asyncio.to_thread(server.stop)
            assert await following.closed() == CloseCode.RESTARTING
            server.run(server.mesh.create(new("b"), new("c")))
            await asyncio.to_thread(server.start)
            assert await following.revisions(2) == ["2", "3"]


async def test_a_client_that_slept_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WebSocketProtocol, "late_seconds", 0.2)
    async with (
        mesh_at(ping_seconds=0.5) as (address, mesh),
        graphql_ws(address) as sleeper,
        graphql_ws(address) as other,
    ):
        await sleeper.following()
        await other.following()
        sleeper.send(signal.SIGSTOP)
        await mesh.create(new("a"))
        assert await other.revisions(1) == ["1"]
        await none_but(1, address)
        sleeper.send(signal.SIGCONT)
        assert await sleeper.closed() == CloseCode.UNRESPONSIVE
        await mesh.create(new("b"))
        assert await sleeper.revisions(1) == ["2"]


async def none_but(count: int, address: str) -> None:
    """Until so many subscriptions are left open."""
    async with asyncio.timeout(SECONDS):
        while True:
            reader, writer = await asyncio.open_connection(*address.split(":"))
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: mesh\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            if f"omnirelay_subscriptions_open {count}.0" in answer.decode():
                return


async def test_a_token_that_expires_is_followed_by_the_next_one() -> None:
    async with mesh_at(shared_secret()) as (address, mesh):
        tokens = [token(Scope.READ, exp=soon()), token(Scope.READ)]
        async with graphql_ws(address, tokens=tokens) as following:
            await following.following()
            assert await following.closed() == CloseCode.TOKEN_OUTDATED
            await following.following()
            await mesh.create(new("a"))
            assert await following.revisions(1) == ["1"]


async def test_a_token_that_had_expired_already_is_followed_by_the_next_one() -> None:
    async with (
        mesh_at(shared_secret()) as (address, _),
        graphql_ws(address, tokens=[token(Scope.READ, exp=1), token(Scope.READ)]) as following,
    ):
        assert await following.closed() == CloseCode.TOKEN_OUTDATED
        await following.following()


@pytest.mark.parametrize("tokens", [[], [signed(OTHER_SECRET)]])
async def test_a_bad_token_ends_it(tokens: list[str]) -> None:
    async with mesh_at(shared_secret()) as (address, _), graphql_ws(address, tokens=tokens) as following:
        assert await following.over() == CloseCode.UNAUTHORIZED


async def test_a_late_introduction_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_CONNECTION_INIT_TIMEOUT", timedelta(seconds=0.2))
    async with mesh_at() as (address, _), graphql_ws(address, late=3_000) as following:
        assert await following.closed() == CloseCode.INIT_TIMEOUT
        await following.following()


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ('{"type":"connection_init"}', CloseCode.INIT_TWICE),
        ('{"type":"unheard of"}', CloseCode.BAD_MESSAGE),
        ('{"type":"ping","payload":{"x":"' + "x" * 4_000 + '"}}', CloseCode.TOO_BIG),
    ],
)
async def test_what_would_go_wrong_again_ends_it(raw: str, code: CloseCode) -> None:
    async with mesh_at(max_body_bytes=2_000) as (address, _), graphql_ws(address, raw=raw) as following:
        assert await following.over() == code


async def test_a_refused_operation_ends_alone() -> None:
    async with mesh_at() as (address, _), graphql_ws(address, query="subscription { nothing }") as following:
        assert await following.over() == ["GRAPHQL_VALIDATION_FAILED"]


async def test_urql_reads_what_it_is_answered() -> None:
    async with mesh_at() as (address, mesh), client("urql.mjs", address, "urql asks for it") as urql:
        assert await urql.event() == {"data": {"head": {"revision": "0"}}}
        assert await urql.event() == {"data": {"createShards": {"revision": "1"}}}
        assert await urql.event() == {"data": {"shardDiffs": {"revision": "1"}}}
        assert (await mesh.store.stream.head()).revision == 1


@pytest.mark.parametrize(
    ("trust", "answer", "first", "later"),
    [
        ("prefer", "0", ["hash", "document"], ["hash"]),
        ("off", "0", ["hash", "document"], ["document"]),
        ("require", "not trusted", ["hash"], ["hash"]),
    ],
)
async def test_urql_and_apollo_client_name_documents_by_their_hashes(
    trust: Trust, answer: str, first: list[str], later: list[str]
) -> None:
    async with mesh_at(trust=trust) as (address, _), client("persisted.mjs", address) as persisted:
        for name in ("urql", "apollo"):
            event = await persisted.event()
            assert event["client"] == name
            assert event["requests"] == first + later
            assert len(event["answers"]) == 2
            assert all(answer in each for each in event["answers"]), event


CLIENTS: Final = ("urql", "apollo", "relay", "graphql-sse", "graphql-ws", "eventsource", "package")
"""As answers.mjs has them, in its order."""

HEAD: Final = "query Relayed { head { revision } }"


async def answers(address: str, document: str) -> dict[str, Any]:
    async with client("answers.mjs", address, document) as program:
        events = [await program.event() for _ in CLIENTS]
    assert [event.pop("client") for event in events] == list(CLIENTS)
    return dict(zip(CLIENTS, events, strict=True))


async def test_each_client_reads_what_a_query_is_answered() -> None:
    async with mesh_at() as (address, mesh):
        await mesh.create(new("a"))
        assert await answers(address, HEAD) == {name: {"revision": "1"} for name in CLIENTS}


async def test_each_client_hears_why_a_document_is_refused() -> None:
    async with mesh_at() as (address, _):
        for name, answer in (await answers(address, "query Relayed { nothing }")).items():
            assert answer["message"] == "Cannot query field 'nothing' on type 'Query'.", name
            assert answer["codes"] == ["GRAPHQL_VALIDATION_FAILED"], name


async def test_each_client_hears_that_a_token_is_missing() -> None:
    async with mesh_at(shared_secret()) as (address, _):
        found = await answers(address, HEAD)
        assert found.pop("eventsource") == {"code": HTTPStatus.UNAUTHORIZED}, "all that its specification has"
        assert found.pop("graphql-ws")["code"] == CloseCode.UNAUTHORIZED
        sse = found.pop("graphql-sse")
        assert "401" in sse["message"] or sse.get("code") == HTTPStatus.UNAUTHORIZED, sse
        for name, answer in found.items():
            assert answer["codes"] == ["UNAUTHENTICATED"], name
            assert "token" in answer["message"], name


@pytest.mark.parametrize("name", ["relay", "eventsource", "package-ws", "package-sse"])
async def test_over_a_restart_each_diff_comes_once(name: str) -> None:
    with MeshServer() as server:
        server.run(server.mesh.configure())
        server.run(server.mesh.create(new("listed")))
        async with client("followers.mjs", server.url.removeprefix("http://"), name) as following:
            if name.startswith("package"):
                assert await following.event() == ["listed", "listed"]
            await following.until(lambda event: event == ["open"])
            server.run(server.mesh.create(new("a")))
            assert await following.revisions(1) == ["2"]
            await asyncio.to_thread(server.stop)
            await following.until(lambda event: event == ["lost"])
            server.run(server.mesh.create(new("b"), new("c")))
            await asyncio.to_thread(server.start)
            assert await following.revisions(2) == ["3", "4"]
            server.run(server.mesh.create(new("d")))
            assert await following.revisions(1) == ["5"]
