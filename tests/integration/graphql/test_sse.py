"""Subscriptions as server-sent events: every event can be resumed from, and every end has its kind.

https://github.com/graphql/graphql-over-http/blob/main/rfcs/GraphQLOverSSE.md
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
from starlette.applications import Starlette

from graph.execution.services import Feed
from graph.http import sse as transport
from graph.http.app import create_app
from persistence.codec import cursors
from persistence.model.records import UNMARKED, ChangeMark
from tests.support.event_stream import event_stream
from tests.support.graphql_api import services_of
from tests.support.graphql_documents import FOLLOW
from tests.support.mesh import Mesh, because, new
from tests.support.serving import serving


@pytest.fixture
async def address(app: Starlette) -> AsyncIterator[str]:
    async with serving(app) as address:
        yield address


@pytest.fixture(autouse=True)
def nothing_was_worth_a_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.exc_info] == []


async def cursor_at(mesh: Mesh, revision: int) -> str:
    return cursors.STREAM.write(await mesh.store.stream.position_at(revision))


async def metric(address: str, name: str) -> float:
    async with httpx2.AsyncClient(timeout=60) as http:
        lines = (await http.get(f"http://{address}/metrics")).text.splitlines()
    (value,) = [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]
    return float(value)


async def none_is_open(address: str) -> None:
    """The server learns of it in its own time; each request lets it run."""
    async with asyncio.timeout(5):
        while await metric(address, "omnirelay_subscriptions_open"):
            pass


async def test_every_event_carries_the_cursor_of_its_batch(address: str, mesh: Mesh) -> None:
    async with event_stream(address, FOLLOW) as events:
        assert events.response.headers["content-type"].startswith("text/event-stream")
        assert events.response.headers["cache-control"] == "no-cache"
        assert events.response.headers["x-request-id"]
        first = await events.begun()
        assert (first.id, first.batch["diffs"]) == (first.batch["cursor"], [])
        await mesh.create(new("a"), new("b"))
        while not (batch := await events.next()).batch["diffs"]:
            assert batch.id == first.id
        assert batch.id == batch.batch["cursor"] == await cursor_at(mesh, 2)


async def test_the_id_is_the_cursor_also_where_the_document_does_not_ask_for_it(address: str, mesh: Mesh) -> None:
    async with event_stream(address, "subscription { shardDiffs { revision } }") as events:
        assert (await events.begun()).id == await cursor_at(mesh, 0)


async def test_a_client_resumes_exactly_after_the_last_event_it_has_seen(address: str, mesh: Mesh) -> None:
    async with event_stream(address, FOLLOW) as events:
        last = (await events.begun()).id
    await mesh.create(*(new(name) for name in "abc"))
    async with event_stream(address, FOLLOW, last_event_id=str(last)) as events:
        resumed = await events.begun()
        assert [diff["revision"] for diff in resumed.batch["diffs"]] == ["1", "2", "3"]
    await mesh.created("d")
    async with event_stream(address, FOLLOW, last_event_id=str(resumed.id)) as events:
        assert [diff["revision"] for diff in (await events.begun()).batch["diffs"]] == ["4"]


async def test_the_last_event_wins_over_the_document(address: str, mesh: Mesh) -> None:
    """A client that connects again sends the request it began with."""
    await mesh.create(*(new(name) for name in "abc"))
    begun, last = await cursor_at(mesh, 0), await cursor_at(mesh, 2)
    async with event_stream(address, FOLLOW, {"after": begun}, last_event_id=last) as events:
        assert [diff["revision"] for diff in (await events.begun()).batch["diffs"]] == ["3"]
    async with event_stream(address, FOLLOW, {"after": begun}, last_event_id="") as events:
        assert [diff["revision"] for diff in (await events.begun()).batch["diffs"]] == ["1", "2", "3"]


async def test_a_browsers_event_source_is_served(address: str, mesh: Mesh) -> None:
    """It sends GET, and the same again with the id of the last event."""
    async with event_stream(address, FOLLOW, {"namespace": "billing"}, method="GET") as events:
        last = (await events.begun()).id
        await mesh.created("a")
        assert await events.revisions(1) == ["1"]
    async with event_stream(
        address, FOLLOW, {"namespace": "billing"}, method="GET", last_event_id=str(last), cache_control="no-store"
    ) as events:
        assert [diff["revision"] for diff in (await events.begun()).batch["diffs"]] == ["1"]


async def test_a_position_that_cannot_be_served_is_one_result_and_the_end(address: str, mesh: Mesh) -> None:
    head = (await mesh.store.stream.head()).position
    for position, code in (
        (head._replace(revision=99), "FUTURE_CURSOR"),
        (head._replace(epoch="x"), "EPOCH_MISMATCH"),
        (head._replace(mark=ChangeMark(99, b"the hash")), "EPOCH_MISMATCH"),
        (head._replace(mark=UNMARKED), "EPOCH_MISMATCH"),
    ):
        async with event_stream(address, FOLLOW, last_event_id=cursors.STREAM.write(position)) as events:
            refused = await events.next()
            assert (refused.error["code"], refused.id) == (code, None)
            complete = await events.next()
            assert (complete.type, complete.data) == ("complete", "")
            assert await events.event() is None


async def test_a_last_event_id_that_is_no_cursor_is_named(address: str) -> None:
    for wrong in ("7", "nonsense", "x" * 2_000):
        async with event_stream(address, FOLLOW, {"after": None}, last_event_id=wrong) as events:
            error = (await events.next()).error
            assert (error["code"], error["fields"][0]["field"]) == ("BAD_CURSOR", "Last-Event-ID")
            assert (await events.next()).type == "complete"


async def test_an_operation_that_cannot_be_begun_is_told_as_an_event(address: str) -> None:
    for query, code in (
        ("subscription {", "GRAPHQL_PARSE_FAILED"),
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription ($x: Cursor!) { shardDiffs(after: $x) { revision } }", "BAD_USER_INPUT"),
        ('subscription { shardDiffs(namespace: "-") { revision } }', "INVALID_ARGUMENT"),
    ):
        async with event_stream(address, query) as events:
            (error,) = json.loads((await events.next()).data)["errors"]
            assert error["extensions"]["code"] == code, query
            assert (await events.next()).type == "complete"
            assert await events.event() is None


async def test_queries_and_mutations_are_one_result_and_the_end(address: str, mesh: Mesh) -> None:
    await mesh.created("a")
    async with event_stream(address, "{ head { revision } }", last_event_id="whatever") as events:
        assert (await events.next()).batch == {"revision": "1"}
        assert (await events.next()).type == "complete"
        assert await events.event() is None


async def test_a_client_that_leaves_ends_the_delivery_and_that_is_no_error(address: str) -> None:
    async with event_stream(address, FOLLOW) as events:
        await events.begun()
        assert await metric(address, "omnirelay_subscriptions_open") == 1.0
    await none_is_open(address)
    assert await metric(address, 'omnirelay_operations_total{outcome="ok",type="subscription"}') == 1.0


async def test_a_subscription_that_was_refused_is_counted_as_failed(address: str) -> None:
    async with event_stream(address, FOLLOW, last_event_id="nonsense") as events:
        await events.next()
    assert await metric(address, 'omnirelay_operations_total{outcome="errors",type="subscription"}') == 1.0


async def test_a_server_that_stops_ends_the_stream_and_the_next_one_goes_on(mesh: Mesh, feed: Feed) -> None:
    apps = [create_app(services_of(mesh.store, mesh.writer, feed)) for _ in range(2)]
    async with serving(apps[0]) as first, serving(apps[1]) as second:
        async with event_stream(first, FOLLOW) as events:
            received = [event := await events.begun()]
            await mesh.created("a")
            while not event.batch["diffs"]:
                received.append(event := await events.next())
            apps[0].state.drain()
            await mesh.create(new("b"), new("c"))
            while (ending := await events.event()) is not None:
                assert ending.type == "next"  # not `complete`: there is more, elsewhere
                received.append(ending)
        await none_is_open(first)
        async with event_stream(first, FOLLOW) as events:
            assert (await events.next()).retry == "1000"
            while (ending := await events.event()) is not None:
                assert ending.type == "next"
        async with event_stream(second, FOLLOW, last_event_id=str(received[-1].id)) as events:
            told = [diff["revision"] for event in received for diff in event.batch["diffs"]]
            await events.next()
            assert told + await events.revisions(3 - len(told)) == ["1", "2", "3"]


async def test_a_client_that_takes_nothing_is_dropped_and_resumes(
    app: Starlette, mesh: Mesh, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transport, "SEND_TIMEOUT_SECONDS", 0.2)
    caplog.set_level(logging.INFO)
    query = "subscription { shardDiffs { diffs { change { reason } current { shardId } } } }"
    async with serving(app) as address:
        host, port = address.split(":")
        with socket.socket() as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            stalled.connect((host, int(port)))
            body = json.dumps({"query": query}).encode()
            stalled.sendall(
                b"POST /graphql HTTP/1.1\r\nHost: mesh\r\nAccept: text/event-stream\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            async with asyncio.timeout(20):
                while not await metric(address, "omnirelay_subscriptions_open"):
                    pass
                number = 0
                while await metric(address, "omnirelay_subscriptions_open"):
                    await mesh.create(*(new(f"{number}-{n}") for n in range(100)), change=because("x" * 1_000))
                    number += 1
        async with event_stream(address, FOLLOW, last_event_id=await cursor_at(mesh, 0)) as events:
            await events.next()
            assert await events.revisions(100) == [str(revision) for revision in range(1, 101)]
