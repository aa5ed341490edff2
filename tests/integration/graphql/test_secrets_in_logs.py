"""A token that is sent by every door, good or not, stands in no line of the log: at DEBUG, of every logger."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from typing import Any

import asyncpg
import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from graph.auth.principal import Scope
from graph.execution.services import Feed
from graph.http.app import create_app
from graph.logs import line_handler
from persistence.errors import StoreError
from persistence.postgres.driver import connect as connect_to_database
from tests.support.graphql_api import services_of
from tests.support.mesh import Mesh
from tests.support.serving import serving
from tests.support.tokens import OTHER_SECRET, shared_secret, signed, token

MARK = "ZmFrZS1tYXJr"
"""In every secret that is sent here; what base64 makes of it is looked for as well."""

HEAD = "query Head { head { revision } }"
LOOKUP = 'query Lookup { shard(namespace: "billing", shardId: "s1") { version } }'
FOLLOW = "subscription Follow { shardDiffs { cursor } }"
CREATE = """mutation Create($input: CreateShardsInput!) { createShards(input: $input) { __typename } }"""


class Printed:
    def __init__(self) -> None:
        self._streams = [io.StringIO(), io.StringIO()]
        self.handlers = [line_handler("text", self._streams[0]), line_handler("json", self._streams[1])]

    @property
    def text(self) -> str:
        return "\n".join(stream.getvalue() for stream in self._streams)


@pytest.fixture
def printed() -> Iterator[Printed]:
    """What a server would print if every logger that there is, libraries' too, were at DEBUG."""
    shown = Printed()
    root = logging.getLogger()
    loggers = [root, *(each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger))]
    before = [(each, each.level) for each in loggers]
    for each in loggers:
        each.setLevel(logging.DEBUG)
    for handler in shown.handlers:
        root.addHandler(handler)
    yield shown
    for handler in shown.handlers:
        root.removeHandler(handler)
    for each, level in before:
        each.setLevel(level)


@pytest.fixture
async def address(printed: Printed, mesh: Mesh, feed: Feed) -> AsyncIterator[str]:
    del printed  # the server begins when everything is heard
    await mesh.created("s1")
    app = create_app(services_of(mesh.store, mesh.writer, feed), authentication=shared_secret())
    async with serving(app) as address:
        yield address


def secrets() -> Mapping[str, str]:
    """Tokens of all kinds, each with the mark as its key id, so that it begins with it, or as it is."""
    header = {"kid": MARK}
    return {
        "good": token(*Scope, jti=MARK),
        "forged": signed(OTHER_SECRET, header=header, scope="mesh.read"),
        "expired": signed(header=header, scope="mesh.read", exp=1),
        "no token": f"{MARK}.{MARK}.{MARK}",
        "no token at all": MARK,
        "too long": MARK * 2_000,
        "odd": f"{MARK} {MARK}",
    }


def parts_of(secret: str) -> set[str]:
    """What must not be printed: any piece of it that is longer than a word."""
    return {part for part in secret.replace(" ", ".").split(".") if len(part) >= 8}


async def send_everywhere(address: str, secret: str) -> None:
    url, authorization = f"http://{address}/graphql", f"Bearer {secret}"
    create = {"shards": [{"namespace": "billing", "shardId": secret[:20], "ownerNodeId": "n"}]}
    variables = {"input": {**create, "change": {"reason": "why"}}}
    async with httpx2.AsyncClient(timeout=60) as http:
        for headers in ({"authorization": authorization}, {"authorization": secret}):
            for accept in ("application/json", "text/event-stream"):
                given = {**headers, "accept": accept}
                for query in (HEAD, LOOKUP, LOOKUP, "{ nowhere }", "{", "query Slow { simulateRebalance { id } }"):
                    await http.post(url, json={"query": query}, headers=given)
                await http.post(url, json={"query": CREATE, "variables": variables}, headers=given)
                await http.get(url, params={"query": HEAD}, headers=given)
            await http.post(url, content=b"{", headers={**headers, "content-type": "application/json"})
            await http.put(url, headers=headers)
            await http.get(f"http://{address}/nowhere", headers=headers)
        for name in ("access_token", "token", "authorization"):
            await http.get(url, params={"query": HEAD, name: secret})
            await http.post(url, params={name: secret}, json={"query": HEAD})
    for payload in ({"authorization": authorization}, {"Authorization": authorization}, {"authorization": secret}):
        await send_by_socket(f"ws://{address}/graphql?access_token={secret[:500].replace(' ', '+')}", payload)
    with suppress(ConnectionClosed, InvalidStatus, OSError):
        async with connect(f"ws://{address}/graphql", additional_headers={"Authorization": authorization}) as socket:
            await socket.wait_closed()


async def send_by_socket(url: str, payload: Mapping[str, Any]) -> None:
    with suppress(ConnectionClosed, InvalidStatus):
        async with connect(url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
            await socket.send(json.dumps({"type": "connection_init", "payload": payload}))
            await socket.recv()
            for number, query in enumerate((HEAD, FOLLOW, "{ nowhere }", "{")):
                operation = {"query": query, "extensions": dict(payload)}
                await socket.send(json.dumps({"id": str(number), "type": "subscribe", "payload": operation}))
                await socket.recv()
            await socket.send(json.dumps({"type": "nothing", "payload": payload}))
            async with asyncio.timeout(10):
                await socket.wait_closed()


@pytest.mark.parametrize("kind", secrets())
async def test_no_token_is_printed(address: str, printed: Printed, kind: str) -> None:
    secret = secrets()[kind]
    await send_everywhere(address, secret)
    assert "request" in printed.text
    shown = [part for part in parts_of(secret) if part in printed.text]
    # A shard may be called anything; nothing is printed of it either.
    assert shown == []


async def test_what_is_sent_would_be_printed_by_libraries(address: str, printed: Printed) -> None:
    """Without the rule about libraries the test above fails: this is what it is held against."""
    heard: list[str] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    listening = Listening()
    logging.getLogger().addHandler(listening)
    try:
        await send_by_socket(f"ws://{address}/graphql?access_token={MARK}", {"authorization": f"Bearer {MARK}"})
    finally:
        logging.getLogger().removeHandler(listening)
    assert any(MARK in line for line in heard)
    assert MARK not in printed.text


async def test_no_password_of_a_database_is_printed(printed: Printed) -> None:
    for url in (
        f"postgresql://mesh:{MARK}@127.0.0.1:1/mesh",
        f"postgresql://mesh:{MARK}@127.0.0.1:1,127.0.0.1:2/mesh",
        f"postgresql://127.0.0.1:1/mesh?user=mesh&password={MARK}",
        f"postgresql://mesh:{MARK}@127.0.0.1:port/mesh",
        f"postgresql://mesh:{MARK}@[/mesh",
    ):
        try:
            await connect_to_database(url)
        except (StoreError, asyncpg.InterfaceError) as error:
            logging.getLogger("graph.tests").exception("cannot connect to %s", url)
            logging.getLogger("graph.tests").warning("%s", error)
    assert "cannot connect to postgresql://" in printed.text
    assert MARK not in printed.text
