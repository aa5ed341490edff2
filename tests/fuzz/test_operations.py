"""Documents, variables and cursors that are nearly right, to a store on PostgreSQL: whatever a database refuses, a
NUL, a lone surrogate or a number too large, is refused before, with a code; and only mutations write."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from graphql import OperationType
from starlette.applications import Starlette

from graph.http.app import create_app
from persistence.commands.nodes import RegisterNode
from persistence.feed.live import live_feed
from persistence.feed.tailer import FeedLimits
from persistence.ports.store import Store
from tests.fuzz import operations
from tests.fuzz.drivers import inputs, seeded
from tests.fuzz.wire import Faults, noting_faults
from tests.support.graphql_api import services_of
from tests.support.mesh import CHANGE, Mesh, new
from tests.support.reused_store import ReusedStores

_AT_ONCE = 8
_HEADERS = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"accept", b"application/json")]
_REGULAR = frozenset({"query", "variables"})


class Asked:
    """The application on PostgreSQL, and what was noticed of it."""

    def __init__(self, app: Starlette, store: Store, faults: Faults) -> None:
        self._app = app
        self._store = store
        self._faults = faults

    async def ask(self, body: bytes) -> Any:
        """The answer, which must have a code for each error."""
        received = [{"type": "http.request", "body": body}]
        sent: list[Any] = []

        async def receive() -> Any:
            return received.pop() if received else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/graphql",
            "raw_path": b"/graphql",
            "root_path": "",
            "query_string": b"",
            "headers": _HEADERS,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "scheme": "http",
            "http_version": "1.1",
            "asgi": {"version": "3.0"},
        }
        await self._app(scope, receive, send)
        status, answer = sent[0]["status"], json.loads(b"".join(each.get("body", b"") for each in sent[1:]))
        assert status < 500 or status == 503, answer
        for error in answer.get("errors", ()):
            assert error["extensions"]["code"] != "INTERNAL", answer
        return answer

    async def take(self, given: Sequence[Any]) -> None:
        """All at once. Only what was answered, and is a mutation, has changed anything."""
        before = await self._store.stream.head()
        try:
            answers = await asyncio.gather(*(self.ask(operations.body_of(each)) for each in given))
            found, self._faults.found = self._faults.found, []
            assert not found, "\n".join(found)
        except BaseException as error:
            error.add_note(f"asked was {json.dumps(given)!s:.20000}")
            raise
        after = await self._store.stream.head()
        wrote = sum(
            _may_write(each) and answer.get("data") is not None for each, answer in zip(given, answers, strict=True)
        )
        assert after.newest.change_id - before.newest.change_id <= wrote, (given, answers)


def _may_write(given: Any) -> bool:
    return not isinstance(given, dict) or not given.keys() <= _REGULAR or "mutation" in str(given.get("query"))


@pytest.fixture
async def asked(reused_stores: ReusedStores) -> AsyncIterator[Asked]:
    store = (await reused_stores.empty()).store
    mesh = Mesh(store)
    await mesh.configure()
    await mesh.create(*(new(str(number)) for number in range(4)))
    for node_id in ("node-a", "node-b"):
        await mesh.execute(RegisterNode(node_id, CHANGE))
    async with AsyncExitStack() as stack:
        limits = FeedLimits(catch_up_seconds=0.2)
        feed = await stack.enter_async_context(live_feed(store.stream, store.signal, limits))
        faults = await stack.enter_async_context(noting_faults())
        yield Asked(create_app(services_of(store, mesh.writer, feed)), store, faults)


@pytest.mark.parametrize("kind", [OperationType.QUERY, OperationType.MUTATION])
async def test_whatever_is_asked_is_answered_with_data_or_a_code(kind: OperationType, asked: Asked) -> None:
    batch = []
    for random in seeded(inputs(300)):
        batch.append(operations.nearly(random, (kind,)))
        if len(batch) == _AT_ONCE:
            await asked.take(batch)
            batch = []
    lookup = '{ shardsByKey(keys: [{namespace: "billing", shardId: "0"}]) { shards { shardId } } }'
    assert "data" in await asked.ask(operations.body_of({"query": lookup}))
