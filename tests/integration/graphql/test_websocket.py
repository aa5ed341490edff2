"""Sockets under whatever clients send: the protocol's close codes, never a traceback, and no harm to other sockets.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.websockets import WebSocketState
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from graph.auth.principal import Principal, Scope
from graph.execution.context import Context
from graph.execution.metrics import Metrics
from graph.execution.services import Feed
from graph.http.app import create_app
from graph.http.socket_adapter import SocketAdapter
from graph.schema.build import build_schema
from graph.server.websocket_protocol import WebSocketProtocol
from graph.subscriptions.manager import SubscriptionManager
from graph.subscriptions.operation import SubscriptionOperation
from persistence.model.queries import DiffFilter
from persistence.model.records import NO_CHANGE, StreamPosition
from persistence.model.stream import DiffBatch
from tests.support.graphql_api import Api, services_of
from tests.support.graphql_socket import Socket, graphql_socket, raw_socket
from tests.support.mesh import Mesh, because, new
from tests.support.serving import serving

FOLLOW = "subscription { shardDiffs { revision } }"
REASONS = """
subscription ($after: Cursor) {
  shardDiffs(after: $after) {
    diffs { revision change { reason } again: change { reason } andAgain: change { reason } }
  }
}"""
COMMITS = 60
"""Of three hundred kilobytes each: more than the system buffers for a connection."""
QUERY = {"query": "{ __typename }"}
FIRST_MESSAGES_THAT_CLOSE = [
    "",
    "{",
    "nonsense",
    "[" * 10_000,
    '{"type": "ping", "payload": ' + "9" * 5_000 + "}",
    b"\x00\x01",
    b'{"type": "connection_init"}',
    [],
    [1, 2],
    7,
    None,
    "\N{BYTE ORDER MARK}{}",
    {},
    {"type": None},
    {"type": 7},
    {"type": ["ping"]},
    {"type": "unheard of"},
    {"type": "x" * 1_000},
    {"type": "\ud800" * 100},
    {"type": "connection_ack"},
    {"type": "connection_init", "payload": []},
    {"type": "connection_init", "payload": "x"},
    {"type": "ping", "payload": 7},
]
LATER_MESSAGES_THAT_CLOSE = [
    {"type": "subscribe"},
    {"type": "subscribe", "id": "1"},
    {"type": "subscribe", "payload": QUERY},
    {"type": "subscribe", "id": 1, "payload": QUERY},
    {"type": "subscribe", "id": "", "payload": QUERY},
    {"type": "subscribe", "id": "1", "payload": None},
    {"type": "subscribe", "id": "1", "payload": []},
    {"type": "subscribe", "id": "1", "payload": {}},
    {"type": "subscribe", "id": "1", "payload": {"query": None}},
    {"type": "subscribe", "id": "1", "payload": {"query": 7}},
    {"type": "subscribe", "id": "1", "payload": QUERY | {"variables": []}},
    {"type": "subscribe", "id": "1", "payload": QUERY | {"variables": "{}"}},
    {"type": "subscribe", "id": "1", "payload": QUERY | {"operationName": 7}},
    {"type": "subscribe", "id": "1", "payload": QUERY | {"extensions": 7}},
    {"type": "complete"},
    {"type": "complete", "id": 7},
    {"type": "next", "id": "1", "payload": {}},
    {"type": "error", "id": "1", "payload": []},
]


@pytest.fixture
async def address(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as address:
        yield address


@pytest.fixture(autouse=True)
async def others_are_unharmed(address: str, caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """While a test misbehaves another socket is open, and afterwards works; and nothing was worth a traceback."""
    async with graphql_socket(address) as other:
        yield
        await other.subscribe(QUERY["query"])
        assert await other.batch() == "Query"
    assert [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


async def test_what_the_protocol_does_not_know_closes_the_socket_with_4400(address: str) -> None:
    for message in FIRST_MESSAGES_THAT_CLOSE:
        async with raw_socket(address) as socket:
            await socket.send(message)
            code, reason = await socket.closed()
        assert (code, bool(reason)) == (4400, True), message


async def test_the_same_holds_once_introduced_and_following(address: str) -> None:
    for message in FIRST_MESSAGES_THAT_CLOSE + LATER_MESSAGES_THAT_CLOSE:
        async with graphql_socket(address) as socket:
            await socket.subscribe(FOLLOW, name="follow")
            await socket.batch("follow")
            await socket.send(message)
            assert (await socket.closed())[0] == 4400, message


async def test_subscribing_before_the_introduction_is_unauthorized(address: str) -> None:
    async with raw_socket(address) as socket:
        await socket.subscribe(FOLLOW)
        assert await socket.closed() == (4401, "Unauthorized")


async def test_an_introduction_may_say_nothing(address: str) -> None:
    payloads: list[dict[str, Any]] = [{}, {"payload": None}, {"payload": {}}, {"payload": {"agent": "test"}}]
    for payload in payloads:
        async with raw_socket(address) as socket:
            await socket.send({"type": "connection_init", **payload})
            assert await socket.receive() == {"type": "connection_ack"}


async def test_one_introduction_is_enough(address: str) -> None:
    async with graphql_socket(address) as socket:
        await socket.send({"type": "connection_init", "payload": {}})
        assert await socket.closed() == (4429, "Too many initialisation requests")


async def test_an_id_in_use_is_refused_and_one_done_with_is_free(address: str) -> None:
    async with graphql_socket(address) as socket:
        for _ in range(2):
            await socket.subscribe(QUERY["query"])
            assert await socket.batch() == "Query"
            assert await socket.receive() == {"id": "1", "type": "complete"}
        long_id = "n" * 5_000
        await socket.subscribe(FOLLOW, name=long_id)
        await socket.batch(long_id)
        await socket.subscribe(FOLLOW, name=long_id)
        code, reason = await socket.closed()
    assert code == 4409
    assert reason.startswith("Subscriber for nnn")


BAD_OPERATIONS = [
    ("{", "GRAPHQL_PARSE_FAILED"),
    ("", "OPERATION_NOT_FOUND"),
    ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
    ("{ a " * 1_000, "GRAPHQL_PARSE_FAILED"),
    ("fragment f on Query { __typename }", "OPERATION_NOT_FOUND"),
    ("subscription ($x: Int!) { shardDiffs { revision } }", "GRAPHQL_VALIDATION_FAILED"),
    ("subscription ($x: Cursor!) { shardDiffs(after: $x) { revision } }", "BAD_USER_INPUT"),
    ("{ a\ud800 }", "GRAPHQL_PARSE_FAILED"),
]


async def test_a_bad_operation_ends_alone(address: str) -> None:
    async with graphql_socket(address) as socket:
        for query, code in BAD_OPERATIONS:
            await socket.subscribe(query)
            assert (await socket.error())["code"] == code, query
        await socket.subscribe(QUERY["query"])
        assert await socket.batch() == "Query"


async def test_an_id_that_cannot_be_encoded_comes_back_as_it_was(address: str) -> None:
    async with graphql_socket(address) as socket:
        await socket.subscribe(QUERY["query"], name="\ud800")
        assert await socket.batch("\ud800") == "Query"


async def test_a_ping_is_answered_before_the_introduction_too(address: str) -> None:
    async with raw_socket(address) as socket:
        await socket.send({"type": "pong", "payload": {"unsolicited": True}})
        await socket.send({"type": "ping", "payload": {"n": 1}})
        assert await socket.receive() == {"type": "pong"}


async def test_completing_what_does_not_run_is_ignored(address: str) -> None:
    async with graphql_socket(address) as socket:
        await socket.send({"type": "complete", "id": "nothing"})
        await socket.send({"type": "ping"})
        assert await socket.receive() == {"type": "pong"}


async def test_operations_at_the_same_time_are_bounded(address: str) -> None:
    async with graphql_socket(address) as socket:
        for number in range(101):
            await socket.subscribe(FOLLOW, name=str(number))
        while (message := await socket.receive())["type"] != "error":
            assert message["type"] == "next"
        assert message["id"] == "100"
        assert message["payload"][0]["extensions"]["code"] == "TOO_MANY_OPERATIONS"


async def test_a_message_beyond_the_limit_closes_the_socket(mesh: Mesh, feed: Feed) -> None:
    app = create_app(services_of(mesh.store, mesh.writer, feed), max_body_bytes=2_000)
    async with serving(app) as address, graphql_socket(address) as socket:
        await socket.send({"type": "ping", "payload": {"x": "x" * 2_000}})
        assert await socket.closed() == (1009, "Message too big")


async def test_a_large_message_is_read_where_it_is_a_mutation(address: str) -> None:
    shard = {"namespace": "orders", "shardId": "none", "ownerNodeId": "node-a"}
    change = {"actor": "ops", "reason": "too many at once"}
    many = {"input": {"shards": [{**shard, "note": None}] * 20_000, "change": change}}
    create = "mutation ($input: CreateShardsInput!) { createShards(input: $input) { __typename } }"
    async with graphql_socket(address) as socket:
        await socket.subscribe(create, many)
        answer = await socket.receive()  # it was read, and has a field that there is not
        assert answer["payload"]["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
        assert (await socket.receive())["type"] == "complete"
        await socket.subscribe("{ __typename }", many, name="2")
        assert (await socket.error())["code"] == "PAYLOAD_TOO_LARGE"
        await socket.subscribe("{ __typename }", {"x": "x" * 2_000_000}, name="3")
        assert await socket.closed() == (1009, "Message too big")


async def test_the_first_message_is_small(address: str) -> None:
    for size, code in ((16_000, 4400), (17_000, 1009)):
        async with raw_socket(address) as socket:
            await socket.send("x" * size)
            assert (await socket.closed())[0] == code


async def test_another_protocol_is_not_spoken(address: str) -> None:
    for protocols in ([Subprotocol("graphql-ws")], None):
        async with connect(f"ws://{address}/graphql", subprotocols=protocols) as connection:
            await connection.wait_closed()
            assert connection.close_code == 4406


async def test_a_page_of_another_origin_may_not_connect(address: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"ws://{address}/graphql", origin=Origin("https://elsewhere.example"))
    assert caught.value.response.status_code == 403


async def test_a_client_that_breaks_off_in_the_middle_is_cleaned_up_after(address: str, api: Api, mesh: Mesh) -> None:
    for _ in range(5):
        connection = await connect(f"ws://{address}/graphql", subprotocols=[Subprotocol("graphql-transport-ws")])
        await connection.send('{"type": "connection_init"}')
        await connection.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": FOLLOW}}))
        await connection.recv()
        connection.transport.abort()
    shard = await mesh.created("1")
    await mesh.updated(shard, owner_node_id="node-b")
    async with asyncio.timeout(10):
        while "omnirelay_subscriptions_open 0.0" not in (await api.http.get("/metrics")).text:  # noqa: ASYNC110 - the server, which has no sign but this
            await asyncio.sleep(0)


async def test_sockets_that_ask_the_same_are_executed_for_once(address: str, api: Api, mesh: Mesh) -> None:
    async with graphql_socket(address) as one, graphql_socket(address) as other:
        for socket, name in ((one, "1"), (other, "a name of its own")):
            await socket.subscribe(REASONS, {"after": None}, name=name)
            await socket.batch(name)
        executed, sent = await counted(api, "executed"), await counted(api, "sent")
        for number in range(10):
            await mesh.created(f"s{number}")
            for socket, name in ((one, "1"), (other, "a name of its own")):
                while not (await socket.batch(name))["diffs"]:
                    pass
        executed, sent = await counted(api, "executed") - executed, await counted(api, "sent") - sent
    assert sent >= 20
    assert executed == sent / 2


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was sent over ASGI, from here on."""
    texts: list[str] = []

    def note(kind: Any) -> None:
        send = kind.send

        async def noted(protocol: Any, message: Any) -> None:
            texts.append(message.get("text", ""))
            await send(protocol, message)

        monkeypatch.setattr(kind, "send", noted)

    for kind in (WebSocketProtocol, WebSocketsSansIOProtocol):
        note(kind)
    return texts


async def test_batches_are_written_past_asgi(texts: list[str], address: str, mesh: Mesh) -> None:
    async with graphql_socket(address) as socket:
        await socket.subscribe(REASONS)
        await socket.batch()
        await mesh.created("1")
        assert await revisions(socket, 1) == [1]
    assert texts == ["", '{"type":"connection_ack"}']


async def test_batches_for_a_socket_with_compression_are_not(texts: list[str], app: Starlette, mesh: Mesh) -> None:
    async with (
        serving(app, compression=True) as address,
        connect(f"ws://{address}/graphql", subprotocols=[Subprotocol("graphql-transport-ws")]) as connection,
    ):
        socket = Socket(connection)
        await socket.send({"type": "connection_init"})
        await socket.receive()
        await socket.subscribe(REASONS)
        await socket.batch()
        await mesh.created("1")
        assert await revisions(socket, 1) == [1]
    assert len([text for text in texts if '"next"' in text]) == 2


async def test_subscriptions_to_the_same_share_what_executes_them(mesh: Mesh, feed: Feed) -> None:
    manager, services = SubscriptionManager(build_schema(), Metrics()), services_of(mesh.store, mesh.writer, feed)
    alice = Context(services, Principal("alice", frozenset({Scope.READ})), "request")
    first, second = [await manager.open(REASONS, {"after": None}, None, alice) for _ in range(2)]
    other = await manager.open(FOLLOW, {}, None, alice)
    assert isinstance(first, SubscriptionOperation)
    assert isinstance(second, SubscriptionOperation)
    assert isinstance(other, SubscriptionOperation)
    assert first is not second
    assert (first.key is second.key, first.run is second.run) == (True, True)
    assert other.run is not first.run


async def test_a_message_is_not_held_once_the_next_one_is_awaited() -> None:
    class Frames:
        application_state = WebSocketState.CONNECTED

        async def receive(self) -> dict[str, str]:
            return {"type": "websocket.receive", "text": '{"type": "subscribe", "payload": {}}'}

    adapter = SocketAdapter(None, Frames(), Frames())  # type: ignore[arg-type] # all it uses of them
    messages = adapter.iter_json()
    first = await anext(messages)
    assert first == {"type": "subscribe", "payload": {}}
    await anext(messages)
    assert first == {}


async def test_a_socket_that_stops_reading_delays_no_other_and_misses_nothing(
    address: str, api: Api, mesh: Mesh
) -> None:
    async with graphql_socket(address) as stalled, graphql_socket(address) as reading:
        for socket in (stalled, reading):
            await socket.subscribe(REASONS)
            await socket.batch()
        stalled.stop_reading()
        for commit in range(1, COMMITS + 1):
            await mesh.create(*(new(f"{commit}-{n}") for n in range(100)), change=because("x" * 1_000))
            assert await revisions(reading, 100) == list(range(commit * 100 - 99, commit * 100 + 1))
        sent = await counted(api, "sent")
        stalled.read_again()
        assert await revisions(stalled, COMMITS * 100) == list(range(1, COMMITS * 100 + 1))
        assert await counted(api, "sent") > sent + 10  # it was not all on its way already
        await mesh.created("last")
        assert await revisions(stalled, 1) == await revisions(reading, 1) == [COMMITS * 100 + 1]


async def counted(api: Api, name: str) -> float:
    (value,) = re.findall(
        rf"^omnirelay_batches_{name}_total (.+)$", (await api.http.get("/metrics")).text, re.MULTILINE
    )
    return float(value)


async def revisions(socket: Socket, count: int) -> list[int]:
    """Of the next so many diffs, bookmarks left out."""
    found: list[int] = []
    while len(found) < count:
        found += [int(diff["revision"]) for diff in (await socket.batch())["diffs"]]
    return found


async def test_a_handshake_carries_the_request_id(address: str) -> None:
    async with connect(
        f"ws://{address}/graphql",
        subprotocols=[Subprotocol("graphql-transport-ws")],
        additional_headers={"x-request-id": "socket-7"},
    ) as connection:
        assert connection.response is not None
        assert connection.response.headers["x-request-id"] == "socket-7"


class _BreakingFeed:
    """A feed that fails after its first batch."""

    position = StreamPosition("epoch", 0, NO_CHANGE)
    age_seconds = 0.0

    async def wait_for(self, revision: int) -> None:
        raise NotImplementedError

    async def wait_for_position(self, position: StreamPosition) -> None:
        raise NotImplementedError

    async def begin(self, after: StreamPosition | None) -> StreamPosition:  # noqa: ARG002
        return self.position

    async def follow(self, begin: StreamPosition, where: DiffFilter) -> AsyncGenerator[DiffBatch, None]:  # noqa: ARG002
        yield DiffBatch(self.position, [], caught_up=True)
        await asyncio.sleep(0)
        raise ZeroDivisionError("secret")


async def test_a_stream_that_fails_later_ends_with_a_masked_error(mesh: Mesh, caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(services_of(mesh.store, mesh.writer, _BreakingFeed()))
    async with serving(app) as address, graphql_socket(address) as socket:
        await socket.subscribe(FOLLOW)
        await socket.batch()
        failed = await socket.receive()
        (error,) = failed["payload"]["errors"]
        assert (failed["type"], error["extensions"]["code"]) == ("next", "INTERNAL")
        assert "secret" not in json.dumps(failed)
        assert (await socket.receive())["type"] == "complete"
        await socket.subscribe(QUERY["query"])
        assert await socket.batch() == "Query"
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert error["extensions"]["requestId"] in record.getMessage()
    caplog.clear()
