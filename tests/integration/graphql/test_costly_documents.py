"""Documents that are made to hold a server up: each is refused with what to do instead, beside the event loop."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final
from unittest import mock

import pytest
from starlette.applications import Starlette
from starlette.types import Message, Scope

import graph.http.app
from graph.execution.documents import DocumentCache
from graph.execution.extension import Execution
from graph.execution.limits import MAX_CHARACTERS, MAX_ERRORS
from graph.execution.metrics import Metrics
from graph.execution.services import Feed
from graph.http.app import create_app
from graph.schema.build import MeshSchema
from tests.support.graphql_api import GRAPHQL_RESPONSE, services_of
from tests.support.graphql_socket import graphql_socket
from tests.support.loop_watchdog import ATTEMPTS, LIMIT_SECONDS, longest_turn
from tests.support.mesh import Mesh
from tests.support.serving import serving
from tests.support.shared_schema import one_schema

UNKNOWN_INPUTS: Final = "{ shards(filter: {" + " ".join(f"abcdef{n}: 1" for n in range(1_600)) + "}) { revision } }"
REPEATED: Final = "{ " + "shards(first: 1) { revision } " * 240 + "}"
UNUSED: Final = "{ head { revision } } fragment f on Query { " + "shards(first: 1) { revision } " * 480 + "}"
LONG_NAMES: Final = "{ " + " ".join("a" * 15_000 + str(n) for n in range(60)) + "}"
NEARLY_ALIKE: Final = "{ " + " ".join(f"rebalancePlanx{n}" for n in range(1_900)) + "}"
INTRICATE: Final = "{ " + f"shards(first: 1) {{ {'revision ' * 40} }} " * 45 + "}"
LISTS: Final = "{ " + " ".join(f"a{n}: shards(first: 500) {{ nodes {{ shardId }} }}" for n in range(110)) + "}"
HISTORY: Final = "{ " + " ".join(f"a{n}: shardHistory(first: 500) {{ nodes {{ shardId }} }}" for n in range(190)) + "}"
SIMULATIONS: Final = "{ " + " ".join(f"a{n}: simulateRebalance(input: {{}}) {{ moveCount }}" for n in range(60)) + "}"
WIDE: Final = (
    "{ shardHistory(first: 500) { nodes { "
    + " ".join(f"a{n}: current {{ shardId namespace status version ownerNodeId leaderId }}" for n in range(190))
    + "} } }"
)

REFUSED: Final = {
    "1,600 unknown fields of an input": (UNKNOWN_INPUTS, "GRAPHQL_VALIDATION_FAILED", "1,600 fields; at most 100"),
    "a field 240 times": (REPEATED, "GRAPHQL_VALIDATION_FAILED", "`shards` 240 times"),
    "a field 660 times": ("{ " + "shards(first: 1) { cursor } " * 660 + "}", "GRAPHQL_PARSE_FAILED", "5,000 tokens"),
    "a fragment that is not used": (UNUSED, "GRAPHQL_VALIDATION_FAILED", "480 times"),
    "long unknown names": (LONG_NAMES, "GRAPHQL_PARSE_FAILED", "at most 65,536"),
    "names that are nearly right": (NEARLY_ALIKE, "GRAPHQL_VALIDATION_FAILED", "Cannot query field"),
    "fields that are compared for long": (INTRICATE, "GRAPHQL_VALIDATION_FAILED", "too intricate"),
    "110 lists": (LISTS, "COST_EXCEEDED", "asks for 55,110 records; at most 10,000"),
    "190 pages of history": (HISTORY, "COST_EXCEEDED", "Ask for smaller pages"),
    "60 simulations": (SIMULATIONS, "COST_EXCEEDED", "`a0` alone asks for 2,500"),
    "a wide page of history": (WIDE, "COST_EXCEEDED", "or for fewer fields at once"),
}  # fmt: skip

each_one: Final = pytest.mark.parametrize(("text", "code", "words"), REFUSED.values(), ids=REFUSED)


def schema_of_a_server(metrics: Metrics, characters: int) -> MeshSchema:
    """The one schema, with documents as a server has them."""
    schema = copy.copy(one_schema())
    schema.documents = DocumentCache(characters)
    schema.documents.bind(schema.core, schema.requirements)
    schema.extensions = (partial(Execution, schema.documents, metrics),)
    schema.metrics = metrics
    return schema


@pytest.fixture
def app(mesh: Mesh, feed: Feed) -> Iterator[Starlette]:
    with mock.patch.object(graph.http.app, "build_schema", schema_of_a_server):
        yield create_app(services_of(mesh.store, mesh.writer, feed))


@each_one
async def test_it_is_refused_over_http_without_holding_the_loop_up(
    app: Starlette, text: str, code: str, words: str
) -> None:
    sent: list[list[Message]] = []
    posts = [posted(app, text + " " * number, GRAPHQL_RESPONSE, sent) for number in range(ATTEMPTS)]
    assert await longest_turn(lambda number: posts[number]()) < LIMIT_SECONDS
    for start, body in sent:
        assert start["status"] == 400
        answer = json.loads(body["body"])
        assert answer["errors"][0]["extensions"]["code"] == code
        assert words in answer["errors"][0]["message"]
        assert len(answer["errors"]) <= MAX_ERRORS + 1


@each_one
async def test_it_is_refused_on_sockets_and_event_streams_as_well(
    app: Starlette, text: str, code: str, words: str
) -> None:
    async with serving(app) as address, graphql_socket(address) as socket:
        await socket.subscribe(text)
        message = await socket.receive()
        assert message["type"] == "error"
        assert message["payload"][0]["extensions"]["code"] == code
        assert words in message["payload"][0]["message"]
    sent: list[list[Message]] = []
    await posted(app, text, "text/event-stream", sent)()
    ((start, body),) = sent
    assert start["status"] == 200
    assert code in body["body"].decode()
    assert body["body"].startswith(b"event: next\ndata: {")


def posted(app: Starlette, text: str, accept: str, sent: list[list[Message]]) -> Callable[[], Awaitable[None]]:
    """A request, whose body is written already: what is `sent` in answer is appended."""
    body = json.dumps({"query": text}).encode()
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/graphql",
        "raw_path": b"/graphql",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"mesh"), (b"content-type", b"application/json"), (b"accept", accept.encode())],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8080),
    }

    async def request() -> None:
        messages: list[Message] = []

        received = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Message:
            for message in received:
                return message
            return await asyncio.Future()  # the client stays

        async def send(message: Message) -> None:
            messages.append(message)

        await app(scope, receive, send)
        sent.append(messages)

    return request


def test_a_name_of_30_megabytes_is_not_looked_at() -> None:
    cache = DocumentCache()
    (problem,) = cache.problems_of("{ " + "a" * 30_000_000 + " }")
    assert problem.message.startswith(f"The document has 30,000,004 characters; at most {MAX_CHARACTERS:,} are allowed")
