"""Prepared operations answer as graphql-core does: the same bytes, errors with their paths and nulls included.

Both ways read and change the same store, which is put back in between; it is in memory, where answers come in a fixed
order: that of errors depends on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

import pytest
import strawberry
from graphql import OperationDefinitionNode, parse
from hypothesis import given, settings
from hypothesis import strategies as st
from orjson import Fragment
from strawberry.http import process_result
from strawberry.types.graphql import OperationType

from graph.auth.principal import Principal, Scope
from graph.execution.context import Context
from graph.execution.encoding import encode_json
from graph.execution.metrics import Metrics
from graph.execution.services import Feed
from graph.schema.build import MeshSchema
from graph.schema.change_stream import ChangeSource
from graph.subscriptions.operation import SubscriptionOperation, open_operation
from persistence.commands.nodes import RegisterNode
from persistence.errors import FutureRevision
from persistence.model.records import StreamPosition
from persistence.model.stream import CommittedChange, DiffBatch
from tests.reference.store import store_on
from tests.reference.tables import Memory, Tables
from tests.support.graphql_api import services_of
from tests.support.length import rounds
from tests.support.mesh import CHANGE, SEARCH, new
from tests.support.planned_mesh import PlannedMesh
from tests.support.random_documents import THERE, Operation, random_operation, random_variables
from tests.support.shared_schema import counting_plans

NOW: Final = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
DOCUMENTS: Final = [
    path.read_text()
    for path in sorted((Path(__file__).parents[2] / "frontend-queries" / "documents").glob("*.graphql"))
]
SUBSCRIPTIONS: Final = [text for text in DOCUMENTS if "\nsubscription " in text]
ASKED_AGAIN: Final = 4
"""One document of so many is asked again after a shard has changed, of which there may be bytes that were kept."""
AT_ONCE: Final = 20
"""Documents of an example: one by one, hypothesis would take as long as they do."""


class FixedFeed:
    """A feed that has seen what the tables hold."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def wait_for(self, revision: int) -> None:
        head = self._memory.tables.revision
        if revision > head:
            raise FutureRevision(revision, head)

    async def begin(self, _: StreamPosition | None) -> StreamPosition:
        return self._memory.tables.head.position

    @property
    def position(self) -> StreamPosition:
        return self._memory.tables.head.position

    async def same_epoch(self, epoch: str) -> None:
        assert epoch == self._memory.tables.epoch

    async def wait_for_position(self, position: StreamPosition) -> None:
        await self.wait_for(position.revision)


@dataclass
class BothWays:
    """A schema, and a store that is put back before each execution: to `tables`, or to what they are with one of the
    shards `changed`."""

    schema: MeshSchema
    memory: Memory
    tables: Tables
    changed: Tables
    principal: Principal
    metrics: Metrics
    kept: int = 0
    """Parts of answers that were bytes already."""

    async def answers(
        self, operation: Operation, name: str | None = "Random", *, changed: bool = False
    ) -> tuple[bytes, bytes]:
        """The answer of graphql-core, and that of the plan."""
        self.memory.tables = self.changed if changed else self.tables
        reference = await self._answer(strawberry.Schema.execute, operation, name)
        self.memory.tables = self.changed if changed else self.tables
        failed = self.fallbacks(name, "errors")
        prepared = await self._answer(MeshSchema.execute, operation, name)
        if b'"errors":[{"message"' not in reference or b'"BAD_USER_INPUT"' in reference:
            # No resolver was called for what is refused before.
            assert self.fallbacks(name, "errors") == failed, operation
        return reference, prepared

    async def _answer(self, execute: Any, operation: Operation, name: str | None) -> bytes:
        context = self.context()
        allowed = (OperationType.QUERY, OperationType.MUTATION)
        result = await execute(self.schema, operation.text, dict(operation.variables), context, None, name, allowed)
        self.kept += _kept(result.data)
        return encode_json(process_result(result))

    def context(self) -> Context:
        mesh = PlannedMesh(store_on(self.memory))
        services = services_of(mesh.store, mesh.writer, cast("Feed", FixedFeed(self.memory)))
        services = replace(services, clock=lambda: NOW)
        return Context(services, self.principal, "request", is_encoded=True)

    def fallbacks(self, name: str | None, reason: str) -> float:
        """How many operations of that name graphql-core has executed in place of their plans."""
        labels = {"operation": name or "unnamed", "reason": reason}
        return self.metrics.registry.get_sample_value("omnirelay_operations_fallback_total", labels) or 0

    def prepared(self) -> float:
        """How many operations were answered by their plans, without errors."""
        labels = [{"type": kind, "outcome": "ok"} for kind in ("query", "mutation")]
        values = [self.metrics.registry.get_sample_value("omnirelay_operations_total", each) for each in labels]
        return sum(value or 0 for value in values)


@cache
def both_ways() -> BothWays:
    """Two namespaces, two nodes, four shards and a plan."""
    memory = Memory(clock=lambda: NOW, epoch="epoch")
    mesh = PlannedMesh(store_on(memory))

    async def fill() -> None:
        await mesh.configure()
        await mesh.configure(SEARCH)
        await mesh.create(*(new(str(number), locality_hint="eu") for number in range(4)))
        for node_id in ("node-a", "node-b"):
            await mesh.execute(RegisterNode(node_id, CHANGE, region="eu", zone="eu-1"))
        THERE["id"] = THERE["planId"] = [(await mesh.plan()).plan.id]

    async def change() -> None:
        shard = await mesh.shard("1")
        assert shard is not None
        await mesh.updated(shard, owner_node_id="node-b", leader_id="leader")

    asyncio.run(fill())
    tables = memory.tables
    asyncio.run(change())
    metrics, principal = Metrics(), Principal("ops", frozenset(Scope))
    schema = counting_plans(metrics)
    schema.documents.trust(frozenset(DOCUMENTS))  # as a server does
    return BothWays(schema, memory, tables, memory.tables, principal, metrics)


def _kept(data: Any) -> int:
    if isinstance(data, dict | list):
        return sum(map(_kept, data.values() if isinstance(data, dict) else data))
    return int(isinstance(data, Fragment))


async def _inline(work: Callable[..., Any], *arguments: object) -> Any:
    return work(*arguments)


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done in threads is done in any order."""
    monkeypatch.setattr(asyncio, "to_thread", _inline)


@pytest.fixture
def _time_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """For slices of the loop. Root fields run beside one another, and which of them raises first, and so ends the
    others where it must not be null, depends on how much of a turn they have used up: on a busy machine the same
    operation has its errors in another order the next time."""
    monkeypatch.setattr("graph.execution.slices.perf_counter", lambda: 0.0)


@pytest.mark.usefixtures("_time_stands_still")
def test_random_operations_are_answered_alike() -> None:
    both = both_ways()
    before = both.prepared()
    executed: set[tuple[int, bool]] = set()

    @settings(max_examples=rounds(20_000, 1_000) // AT_ONCE)
    @given(first=st.integers(0, 2**31))
    def are_answered_alike(first: int) -> None:
        asyncio.run(compare(range(first * AT_ONCE, (first + 1) * AT_ONCE)))

    async def compare(seeds: range) -> None:
        for seed in seeds:
            operation = random_operation(both.schema.core, seed)
            reference, prepared = await both.answers(operation)
            assert prepared == reference, operation
            executed.add((seed, False))
            if seed % ASKED_AGAIN == 0:
                reference, prepared = await both.answers(operation, changed=True)
                assert prepared == reference, operation
                executed.add((seed, True))

    are_answered_alike()
    assert both.kept > len(executed) // 50
    share = (both.prepared() - before) / len(executed)
    assert share >= 0.6, share


def _operation(text: str) -> OperationDefinitionNode:
    nodes: Sequence[Any] = parse(text).definitions
    return next(node for node in nodes if isinstance(node, OperationDefinitionNode))


def _name(text: str) -> str:
    name = _operation(text).name
    assert name is not None
    return name.value


@pytest.mark.parametrize("text", [text for text in DOCUMENTS if text not in SUBSCRIPTIONS], ids=_name)
def test_documents_of_clients_are_answered_alike_and_by_their_plans(text: str) -> None:
    both, operation, name, is_prepared = both_ways(), _operation(text), _name(text), both_ways().prepared()

    async def compare() -> None:
        for seed in range(rounds(200, 8)):
            variables = random_variables(both.schema.core, operation, seed)
            for changed in (False, True, False):
                reference, prepared = await both.answers(Operation(text, variables), name, changed=changed)
                assert prepared == reference, variables

    asyncio.run(compare())
    assert not both.fallbacks(name, "not_prepared")
    assert both.prepared() > is_prepared


SHARDS: Final = (
    "query ($f: ShardFilter, $n: Int, $asOf: AsOf) { shards(filter: $f, first: $n, asOf: $asOf) { revision } }"
)
LITERAL: Final = """query ($one: String!, $r: Revision) {
  shards(filter: {shardIds: [$one], statuses: ACTIVE, namespace: $one}, asOf: {revision: $r}) { nodes { shardId } }
}"""
CREATE: Final = (
    "mutation ($i: CreateShardsInput!) { createShards(input: $i) { __typename ... on Refusal { message } } }"
)
NEW: Final[dict[str, Any]] = {"namespace": "billing", "shardId": "9", "ownerNodeId": "node-a"}
BECAUSE: Final[dict[str, Any]] = {"actor": "ops", "reason": "r"}
FILTERS: Final[Sequence[Any]] = (
    {},
    [],
    {"none": 1},
    {"shardIds": "0"},
    {"shardIds": [None]},
    {"statuses": ["active"]},
)
OTHERWISE: Final[Sequence[dict[str, Any]]] = (
    {},
    {"capacityHint": None},
    {"capacityHint": 2},
    {"capacityHint": "2"},
    {"shardId": None},
    {"pin": {}},
)


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        *((SHARDS, {"n": n}) for n in (True, 5.0, 5.5, "5", 2**40, 1e400, None, [1])),
        *((SHARDS, {"f": f}) for f in FILTERS),
        *(
            (SHARDS, {"asOf": a})
            for a in ({}, {"revision": 1}, {"revision": None}, {"revision": 1, "time": None}, {"revision": -1})
        ),
        *((LITERAL, {"one": one, "r": r}) for one in ("0", None, 7) for r in (1, None)),
        (LITERAL, {"one": "billing"}),
        *((CREATE, {"i": i}) for i in (None, {}, {"shards": [NEW]}, {"shards": [NEW], "change": None})),
        *((CREATE, {"i": {"shards": [NEW | more], "change": BECAUSE}}) for more in OTHERWISE),
        (CREATE, {"i": {"shards": NEW, "change": BECAUSE | {"metadata": {"a": [2**70, 0.1]}}}}),
    ],
)
def test_values_that_are_coerced_or_refused_are_so_alike(query: str, variables: dict[str, Any]) -> None:
    both = both_ways()
    reference, prepared = asyncio.run(both.answers(Operation(query, variables), None))
    assert prepared == reference


@pytest.mark.parametrize("text", SUBSCRIPTIONS, ids=_name)
def test_batches_are_completed_alike_and_by_the_plan_of_their_subscription(text: str) -> None:
    asyncio.run(_batches_are_completed_alike(both_ways(), text))


async def _batches_are_completed_alike(both: BothWays, text: str) -> None:
    both.memory.tables = both.tables
    head, history = both.tables.head.position, both.tables.history
    operation = await open_operation(both.schema, text, None, None, both.context())
    assert isinstance(operation, SubscriptionOperation)
    assert operation.run is not None
    unprepared = replace(operation, run=None)
    items: Sequence[Any] = history
    if isinstance(operation.stream, ChangeSource):
        items = list(map(CommittedChange, both.tables.changes))
    for batch in (DiffBatch(head, items, caught_up=True), DiffBatch(head, (), caught_up=False)):
        completed = await operation.run.event(operation.stream.event(batch))
        assert completed is not None
        assert await operation.payload(batch) == await unprepared.payload(batch)
