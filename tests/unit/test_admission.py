"""Whose turn it is when more is requested than runs at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from graphql import get_operation_ast, parse

from graph.execution.metrics import Metrics
from graph.execution.workload import Workload, classify
from graph.http.admission import AdmissionQueue, Bounds
from graph.operations import operation
from persistence.errors import Overloaded


@dataclass
class Desk:
    """A queue, and a client at each of its ends: operations run until they are let go."""

    queue: AdmissionQueue
    metrics: Metrics
    order: list[str] = field(default_factory=list)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    ends: dict[str, asyncio.Event] = field(default_factory=dict)

    async def ask(self, client: str, name: str) -> None:
        """Has requested its turn when this returns: it runs, waits, or was refused."""

        async def run() -> None:
            async with self.queue.turn(client):
                self.order.append(name)
                await self.ends[name].wait()

        self.ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(run())
        await settled()

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await self.tasks[name]
        await settled()

    async def cancel(self, name: str) -> None:
        self.tasks[name].cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.tasks[name]
        await settled()

    async def refused(self, name: str) -> str:
        with pytest.raises(Overloaded) as refused:
            await self.tasks[name]
        assert (refused.value.code, refused.value.retry_after) == ("OVERLOADED", 1.0)
        return str(refused.value)

    def count(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(f"omnirelay_operations_{name}", {"workload": "query"}) or 0.0


async def settled() -> None:
    """Whatever can go on without anything from outside has."""
    for _ in range(10):
        await asyncio.sleep(0)


@asynccontextmanager
async def desk(running: int, waiting: int = 100, seconds: float = 60.0) -> AsyncIterator[Desk]:
    metrics = Metrics()
    opened = Desk(AdmissionQueue(Workload.QUERY, Bounds(running, waiting, seconds), metrics), metrics)
    yield opened
    for task in opened.tasks.values():
        task.cancel()
    await asyncio.gather(*opened.tasks.values(), return_exceptions=True)
    await settled()
    assert (opened.count("running"), opened.count("waiting")) == (0.0, 0.0), "a turn was lost"


async def test_no_more_run_at_once_than_the_bound() -> None:
    async with desk(2) as it:
        for number in range(5):
            await it.ask("alice", f"a{number}")
        assert it.order == ["a0", "a1"]
        assert (it.count("running"), it.count("waiting")) == (2.0, 3.0)
        await it.end("a1")
        assert it.order == ["a0", "a1", "a2"]


async def test_a_client_who_asks_for_one_waits_for_one_not_for_all_that_another_asked_for() -> None:
    async with desk(1) as it:
        for number in range(50):
            await it.ask("greedy", f"g{number}")
        await it.ask("alice", "a0")
        await it.end("g0")
        assert it.order[-1] == "a0"


async def test_turns_go_round_among_those_who_wait() -> None:
    async with desk(1) as it:
        for client in "abc":
            for number in range(3):
                await it.ask(client, f"{client}{number}")
        for done in range(8):
            await it.end(it.order[done])
        assert it.order == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


async def test_the_client_that_runs_least_comes_first() -> None:
    async with desk(3) as it:
        for number in range(5):
            await it.ask("greedy", f"g{number}")
        await it.ask("alice", "a0")
        await it.ask("alice", "a1")
        await it.end("g0")
        assert it.order[3:] == ["a0"]
        await it.end("g1")
        await it.end("a0")
        assert it.order[3:] == ["a0", "g3", "a1"]


async def test_a_full_queue_refuses_the_client_that_filled_it() -> None:
    async with desk(1, waiting=3) as it:
        for number in range(5):
            await it.ask("greedy", f"g{number}")
        assert "3 operations wait already. Nothing was written." in await it.refused("g4")
        await it.ask("alice", "a0")
        assert "3 operations wait already" in await it.refused("g3")
        await it.ask("alice", "a1")
        await it.refused("a1")
        await it.ask("bob", "b0")
        await it.refused("g2")
        await it.ask("carol", "c0")
        await it.refused("c0")
        assert it.count("overloaded_total") == 5.0
        await it.end("g0")
        assert it.order == ["g0", "a0"]


async def test_no_operation_waits_for_longer_than_the_bound() -> None:
    async with desk(1, seconds=0.01) as it:
        await it.ask("alice", "a0")
        await it.ask("alice", "a1")
        assert "its turn did not come within 0.01 seconds" in await it.refused("a1")
        await it.end("a0")
        await it.ask("alice", "a2")
        assert it.order == ["a0", "a2"]


async def test_who_leaves_makes_room_waiting_or_running() -> None:
    async with desk(1) as it:
        for name in ("a0", "a1", "a2"):
            await it.ask("alice", name)
        await it.cancel("a1")
        await it.cancel("a0")
        assert it.order == ["a0", "a2"]
        assert it.count("abandoned_total") == 2.0


async def test_a_turn_that_came_while_its_client_left_goes_on_to_the_next() -> None:
    async with desk(1) as it:
        for name in ("a0", "a1", "a2"):
            await it.ask("alice", name)
        it.ends["a0"].set()
        await asyncio.sleep(0)  # a1 has its turn, and was not resumed yet
        assert it.count("waiting") == 1.0
        await it.cancel("a1")
        assert it.order == ["a0", "a2"]


async def test_an_operation_that_fails_gives_its_turn_back() -> None:
    async with desk(1) as it:
        with pytest.raises(ZeroDivisionError):
            async with it.queue.turn("alice"):
                raise ZeroDivisionError
        await it.ask("alice", "a0")
        assert it.order == ["a0"]


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_no_turn_is_lost_and_no_bound_is_passed(seed: int) -> None:
    chance = random.Random(seed)
    async with desk(3, waiting=10) as it:
        for number in range(200):
            await it.ask(chance.choice("abcd"), str(number))
            live = [name for name, task in it.tasks.items() if not task.done()]
            for name in chance.sample(live, min(len(live), chance.randrange(3))):
                if chance.random() < 0.5:
                    it.ends[name].set()
                else:
                    it.tasks[name].cancel()
            if chance.random() < 0.5:
                await settled()
            assert it.count("running") <= 3
            assert it.count("waiting") <= 10
        await settled()
        assert it.count("running") == min(3, sum(not task.done() for task in it.tasks.values()))


@pytest.mark.parametrize(
    ("document", "variables", "expected"),
    [
        ('{ shard(namespace: "a", shardId: "b") { version } }', {}, Workload.LOOKUP),
        ("{ a: shards { revision } b: shards(first: 2) { revision } __typename }", {}, Workload.CATCH_UP),
        ('{ shards(filter: {namespace: "a"}) { revision } __typename }', {}, Workload.LOOKUP),
        ('{ a: shards(filter: {namespace: "a"}) { revision } b: shards { revision } }', {}, Workload.CATCH_UP),
        ('{ shards(filter: {search: "a"}) { revision } }', {}, Workload.CATCH_UP),
        ("{ shards(filter: {namespace: null}) { revision } }", {}, Workload.CATCH_UP),
        ("{ shards(filter: null) { revision } }", {}, Workload.CATCH_UP),
        ("query($name: String) { shards(filter: {namespace: $name}) { revision } }", {}, Workload.CATCH_UP),
        ("query($name: String) { shards(filter: {namespace: $name}) { revision } }", {"name": "a"}, Workload.LOOKUP),
        (operation("ShardsByKey"), {"keys": [{"namespace": "a", "shardId": "b"}]}, Workload.LOOKUP),
        (operation("ShardsByKey"), {"asOf": {"revision": "1"}}, Workload.HISTORY),
        ('{ shards(filter: {namespace: "a"}, asOf: null) { revision } }', {}, Workload.LOOKUP),
        ('{ shards(asOf: {revision: "1"}) { revision } }', {}, Workload.HISTORY),
        (operation("ListShards"), {}, Workload.CATCH_UP),
        (operation("ListShards"), {"filter": None}, Workload.CATCH_UP),
        (operation("ListShards"), {"filter": {"statuses": ["ACTIVE"]}}, Workload.CATCH_UP),
        (operation("ListShards"), {"filter": "no filter"}, Workload.CATCH_UP),
        (operation("ListShards"), {"filter": {"namespace": "a"}, "asOf": None}, Workload.LOOKUP),
        (operation("ListShards"), {"asOf": {"revision": "1"}}, Workload.HISTORY),
        (operation("ListShards"), {"asOf": {"revision": "1"}, "atLeast": "1"}, Workload.HISTORY),
        ('query($at: AsOf = {revision: "1"}) { shards(asOf: $at) { revision } }', {}, Workload.HISTORY),
        ("query($at: AsOf = null) { shardsByKey(keys: [], asOf: $at) { revision } }", {}, Workload.LOOKUP),
        ('{ shards(atLeast: "1") { revision } }', {}, Workload.CATCH_UP),
        ('query($at: Cursor = "1") { shards(atLeastCursor: $at) { revision } }', {}, Workload.CATCH_UP),
        ("query($at: Revision) { shardsByKey(keys: [], atLeast: $at) { revision } }", {}, Workload.LOOKUP),
        ("query($at: Revision) { shardsByKey(keys: [], atLeast: $at) { revision } }", {"at": "1"}, Workload.CATCH_UP),
        ("query($at: Revision) { shards(atLeast: $at) { revision } head { revision } }", {"at": "1"}, Workload.QUERY),
        ("{ head { revision } shards { revision } }", {}, Workload.QUERY),
        (operation("ShardHistory"), {}, Workload.HISTORY),
        ("{ shards { revision } changes { nodes { id } } }", {}, Workload.HISTORY),
        ("{ changes { nodes { id } } head { revision } }", {}, Workload.HISTORY),
        (operation("SimulateRebalance"), {}, Workload.PLANNING),
        ('{ explainShard(namespace: "a", shardId: "b") { __typename } changes { __typename } }', {}, Workload.PLANNING),
        ('{ ... on Query { shards(filter: {namespace: "a"}) { revision } } }', {}, Workload.LOOKUP),
        ("{ ...a } fragment a on Query { ...b ...a } fragment b on Query { head { revision } }", {}, Workload.QUERY),
        ("{ ...missing }", {}, Workload.LOOKUP),
        (operation("UpdateShard"), {}, Workload.MUTATION),
        (operation("ApplyPlan"), {}, Workload.PLANNING),
    ],
)
def test_the_workload_is_that_of_the_heaviest_root_field(document: str, variables: Any, expected: Workload) -> None:
    parsed = parse(document)
    assert classify(get_operation_ast(parsed), parsed).of(variables) is expected


def test_what_cannot_be_executed_is_answered_at_once() -> None:
    assert classify(None).of({}) is Workload.LOOKUP
