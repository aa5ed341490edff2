"""Schemathesis over the whole schema: whatever fits it is answered, with data or with a documented code.

Random values seldom get past the first check, so most of those that name something are made to name what is there.
Schemathesis takes a second of a processor to import, so it is imported where a test runs, not where one is collected.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import graphql
import pytest
from graphql import ArgumentNode, ObjectFieldNode, StringValueNode
from hypothesis import given, settings

from graph.http.app import create_app
from persistence.commands.nodes import RegisterNode
from persistence.feed.live import live_feed
from persistence.feed.tailer import FeedLimits
from persistence.model.outcomes import PlanProposed
from persistence.service.rebalancer import PlanRequest, Rebalancer
from strategies.registry import Registry
from tests.reference.store import memory_store
from tests.support.cursors import CURSORS
from tests.support.graphql_api import services_of
from tests.support.mesh import CHANGE, Mesh, new
from tests.support.serving import serving
from tests.support.shared_schema import one_schema

if TYPE_CHECKING:
    import schemathesis

DOCUMENTED: Final = {
    "INVALID_ARGUMENT",
    "BAD_CURSOR",
    "BAD_USER_INPUT",
    "FUTURE_CURSOR",
    "FUTURE_REVISION",
    "STALE_READ",
    "GRAPHQL_VALIDATION_FAILED",
    "GRAPHQL_PARSE_FAILED",
    "NOT_FOUND",
    "PLACEMENT_IMPOSSIBLE",
}
THERE: Final = {
    "namespace": ["billing", "search"],
    "name": ["billing", "search", "new"],
    "shardId": ["0", "1", "2", "3", "new"],
    "ownerNodeId": ["node-a", "node-b"],
    "nodeId": ["node-a", "node-b", "node-c"],
    "region": ["eu"],
    "zone": ["eu-1"],
    "leaderId": ["node-a"],
    "localityHint": ["eu/eu-1", "zone:a"],
    "strategy": ["ring", "rendezvous", "locality"],
    "actor": ["alice"],
    "reason": ["because"],
    "changeTicket": ["CHG-1"],
    "after": CURSORS,
    "before": CURSORS,
}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A server that has an event loop, and a store, of its own."""
    ready: list[str] = []
    started, stop = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        mesh = Mesh(memory_store())
        await mesh.configure()
        await mesh.create(*(new(str(number)) for number in range(4)))
        for node_id in ("node-a", "node-b"):
            await mesh.execute(RegisterNode(node_id, CHANGE))
        THERE["id"] = THERE["planId"] = [await _plan(mesh)]
        limits = FeedLimits(catch_up_seconds=0.01)
        async with AsyncExitStack() as stack:
            feed = await stack.enter_async_context(live_feed(mesh.store.stream, mesh.store.signal, limits))
            app = create_app(services_of(mesh.store, mesh.writer, feed))
            ready.append(await stack.enter_async_context(serving(app)))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert started.wait(10)
        yield f"http://{ready[0]}/graphql"
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join()


async def _plan(mesh: Mesh) -> str:
    """The id of a plan."""
    planned = await Rebalancer(mesh.store, mesh.writer, Registry()).plan(PlanRequest(), CHANGE)
    assert isinstance(planned, PlanProposed)
    return planned.plan.id


class _NameWhatIsThere(graphql.Visitor):
    """Most strings that name something become names there are, most numbers of items sensible ones."""

    def __init__(self) -> None:
        super().__init__()
        self._seen = 0

    def enter_argument(self, node: ArgumentNode, *_: Any) -> ArgumentNode:
        return ArgumentNode(name=node.name, value=self._value(node.name.value, node.value))

    def enter_object_field(self, node: ObjectFieldNode, *_: Any) -> ObjectFieldNode:
        return ObjectFieldNode(name=node.name, value=self._value(node.name.value, node.value))

    def _value(self, name: str, value: graphql.ValueNode) -> graphql.ValueNode:
        self._seen += 1
        match value:
            case graphql.IntValueNode() if name in ("first", "last", "weight", "maxMoves"):
                return graphql.IntValueNode(value=str(int(value.value) % 6))
            case graphql.ListValueNode() if name == "namespaces":
                return graphql.ListValueNode(values=tuple(self._value("namespace", one) for one in value.values))
            case StringValueNode() if name in THERE and self._seen % 4:
                known = THERE[name]
                return StringValueNode(value=known[len(value.value) % len(known)])
        # A page has one end: with cursors for both and sizes for both, next to nothing would be a page.
        return graphql.NullValueNode() if name in ("last", "after", "before") and self._seen % 8 else value


def _fields(root: str) -> list[str]:
    """The names of a root type's fields."""
    definition = one_schema().core.get_type(root)
    assert isinstance(definition, graphql.GraphQLObjectType)
    return list(definition.fields)


@pytest.fixture(scope="module")
def cases() -> ModuleType:
    return importlib.import_module("tests.support.schemathesis_cases")


@pytest.mark.parametrize("operation", [f"{root}.{field}" for root in ("Query", "Mutation") for field in _fields(root)])
def test_whatever_fits_the_schema_is_answered(operation: str, cases: ModuleType, endpoint: str) -> None:
    @settings(max_examples=25)
    @given(case=cases.cases_of(operation))
    def is_answered(case: schemathesis.Case[Any]) -> None:
        assert isinstance(case.body, str)
        case.body = graphql.print_ast(graphql.visit(graphql.parse(case.body), _NameWhatIsThere()))
        response = case.call(base_url=endpoint)
        assert response.status_code == 200, response.text
        answer = response.json()
        codes = [error["extensions"]["code"] for error in answer.get("errors", ())]
        assert set(codes) <= DOCUMENTED, answer
        assert codes or answer["data"] is not None

    is_answered()
