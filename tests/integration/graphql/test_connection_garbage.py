"""A connection that has ended leaves nothing for the garbage collector, which is kept from looking at connections."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import httpx2
import pytest
from starlette.applications import Starlette
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from tests.integration.graphql.test_abandoned import NAMES, Held, came
from tests.integration.graphql.test_abandoned import asked as sent
from tests.support.mesh import Mesh, new
from tests.support.serving import serving

SUBSCRIPTION = "subscription { shardDiffs { revision diffs { revision } } }"


@contextmanager
def only_what_is_left() -> Iterator[None]:
    """Without the collector meanwhile. Fails if there is garbage then of which the server's modules have the class."""
    gc.collect()
    gc.disable()
    try:
        yield
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = sorted({type(each).__qualname__ for each in gc.garbage if is_ours(each)})
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not left


def is_ours(found: object) -> bool:
    module = type(found).__module__
    return module.startswith(("graph.", "uvicorn.", "strawberry."))


@asynccontextmanager
async def subscribed(address: str) -> AsyncIterator[None]:
    protocols = [Subprotocol("graphql-transport-ws")]
    async with connect(f"ws://{address}/graphql", subprotocols=protocols, compression=None) as socket:
        await socket.send(json.dumps({"type": "connection_init"}))
        await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": SUBSCRIPTION}}))
        assert json.loads(await socket.recv())["type"] == "connection_ack"
        assert json.loads(await socket.recv())["type"] == "next"
        gc.collect()
        yield


@asynccontextmanager
async def streaming(address: str) -> AsyncIterator[None]:
    async with (
        httpx2.AsyncClient(base_url=f"http://{address}") as http,
        http.stream("POST", "/graphql", json={"query": SUBSCRIPTION}, headers={"accept": "text/event-stream"}) as got,
    ):
        async for line in got.aiter_lines():
            if line.startswith("data: "):
                break
        gc.collect()
        yield


@asynccontextmanager
async def asked(address: str) -> AsyncIterator[None]:
    async with httpx2.AsyncClient(base_url=f"http://{address}") as http:
        assert (await http.post("/graphql", json={"query": "{ head { revision } }"})).status_code == 200
        gc.collect()
        yield


async def test_a_subscriber_that_left_while_it_was_sent_something_is_freed(app: Starlette, mesh: Mesh) -> None:
    async with serving(app) as address:
        with only_what_is_left():
            for number in range(5):
                async with subscribed(address), subscribed(address), AsyncExitStack() as leaving:
                    for _ in range(5):
                        await leaving.enter_async_context(subscribed(address))
                    await mesh.create(new(f"s{number}"))
                await until_all_have_ended()


@pytest.mark.usefixtures("mesh")
@pytest.mark.parametrize("client", [subscribed, streaming, asked])
async def test_what_an_open_connection_holds_is_freed_with_it(app: Starlette, client: object) -> None:
    assert callable(client)
    async with serving(app) as address:
        async with client(address):
            pass
        await until_all_have_ended()
        with only_what_is_left():
            async with client(address):
                pass
            await until_all_have_ended()


async def test_a_read_whose_client_hangs_up_is_freed(
    app: Starlette, mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = Held(monkeypatch, type(mesh.store.namespaces), "page")

    async def hang_up(address: str) -> None:
        async with sent(address, NAMES):
            await came(reading.begun)
        await came(reading.cancelled)
        await until_all_have_ended()

    async with serving(app) as address:
        await hang_up(address)
        with only_what_is_left():
            await hang_up(address)


async def test_a_read_whose_client_was_watched_is_freed(
    app: Starlette, mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = Held(monkeypatch, type(mesh.store.namespaces), "page")

    async def ask(address: str) -> None:
        reading.let_go.clear()
        async with httpx2.AsyncClient(base_url=f"http://{address}") as http:
            asking = asyncio.create_task(http.post("/graphql", json={"query": NAMES}))
            await came(reading.begun)
            async with asyncio.timeout(10):
                while not any(task.get_name() == "omnirelay-disconnect" for task in asyncio.all_tasks()):  # noqa: ASYNC110 - no event for it
                    await asyncio.sleep(0)
            reading.let_go.set()
            assert (await asking).status_code == 200
        await until_all_have_ended()

    async with serving(app) as address:
        await ask(address)
        with only_what_is_left():
            await ask(address)


async def until_all_have_ended() -> None:
    """Every task of a connection has ended by then."""
    async with asyncio.timeout(10):
        while any(is_of_connection(task) for task in asyncio.all_tasks()):  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.01)
    await asyncio.sleep(0)


def is_of_connection(task: asyncio.Task[object]) -> bool:
    return "run_asgi" in repr(task.get_coro()) or "WebSocketProtocol._run" in repr(task.get_coro())
