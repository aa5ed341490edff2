"""Planning and applying for 10,000 shards in 50 namespaces through the API, with lookups going on meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any, Final

from persistence.commands.command import ChangeRequest
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.nodes import RegisterNode
from persistence.commands.shards import CreateShards, NewShard
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from tests.benchmarks.load import Figures, each_once, open_loop, post
from tests.support.mesh import ANY_MOVES

NAMESPACES: Final = 50
SHARDS_EACH: Final = 200
NODES: Final = 20
STRATEGIES: Final = ("rendezvous", "ring", "locality")
LOOKUP_RATE: Final = 200
SETTLING_SECONDS: Final = 8.0
TARGET_SECONDS: Final = 2.0
TARGET_MS: Final = 50.0

_LOOKUP: Final = "query($n:String!,$k:String!){shard(namespace:$n,shardId:$k){ownerNodeId version ownerEpoch}}"
_PLAN: Final = (
    "mutation($i:PlanRebalanceInput!){planRebalance(input:$i){__typename ...on PlanProposed{plan{id moveCount "
    "proposal{moves(first:50){nodes{namespace shardId fromNodeId toNodeId reason}} "
    "loads{nodeId shardsBefore shardsAfter} violations{message}}}} ...on Refusal{message}}}"
)
_APPLY: Final = (
    "mutation($i:ApplyPlanInput!){applyPlan(input:$i){__typename ...on PlanApplied{revision change{rebalance{moved}}} "
    "...on Refusal{message}}}"
)
_REGISTER: Final = (
    "mutation($i:RegisterNodeInput!){registerNode(input:$i){__typename ...on NodeChanged{node{version}} "
    "...on Refusal{message}}}"
)
_DRAIN: Final = (
    "mutation($i:DrainNodeInput!){drainNode(input:$i){__typename ...on NodeDrained{node{version}} "
    "...on Refusal{message}}}"
)
_CHANGE: Final = {"actor": "bench", "reason": "measure", "changeTicket": "CHG-1"}


async def fill(url: str) -> None:
    """Namespaces, nodes, and shards that all begin on a node that is not registered."""
    async with open_store(url) as store:
        writer = CommandExecutor(store.unit_of_work)
        change = ChangeRequest("bench", "measure", "CHG-1")
        for number in range(NODES):
            place = f"r{number % 3}"
            await writer.execute(
                RegisterNode(f"node-{number:02}", change, region=place, zone=f"{place}-{number % 2}", weight=1)
            )
        names = [f"plan{number:02}" for number in range(NAMESPACES)]
        for number, name in enumerate(names):
            await writer.execute(ConfigureNamespace(name, STRATEGIES[number % 3], {}, 0, change, ANY_MOVES))
        shards = [
            NewShard(name, f"shard-{number:03}", "elsewhere", locality_hint=f"r{number % 3}")
            for name in names
            for number in range(SHARDS_EACH)
        ]
        await writer.execute(CreateShards(shards, change))


class Rolling:
    """A mesh whose nodes come and go; each step is planned and applied, and timed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.plans: list[float] = []
        self.applies: list[float] = []
        self.moved: list[int] = []

    async def step(self) -> None:
        names = [f"plan{number:02}" for number in range(NAMESPACES)]
        begin = perf_counter()
        plan = (await self._change(_PLAN, namespaces=names))["plan"]
        self.plans.append(perf_counter() - begin)
        begin = perf_counter()
        await self._change(_APPLY, planId=plan["id"])
        self.applies.append(perf_counter() - begin)
        self.moved.append(plan["moveCount"])

    async def roll(self) -> None:
        """Nodes join and are drained."""
        for number in range(3):
            await self._change(_REGISTER, nodeId=f"node-{NODES + number}", region="r1", zone="r1-0")
            await self.step()
            await self._change(_DRAIN, nodeId=f"node-{number:02}", expectedVersion="1")
            await self.step()

    async def _change(self, document: str, **given: Any) -> dict[str, Any]:
        (body,) = await each_once(self._port, [_request(document, {"i": {**given, "change": _CHANGE}})], connections=1)
        answer = json.loads(body)
        if "errors" in answer:
            raise RuntimeError(str(answer["errors"]))
        (result,) = answer["data"].values()
        if "message" in result:
            raise RuntimeError(result["message"])
        return dict(result)


@dataclass(frozen=True, slots=True)
class Window:
    """What was planned and applied, and how lookups fared meanwhile."""

    plans: Sequence[float]
    applies: Sequence[float]
    moved: Sequence[int]
    lookups: Figures


async def measure(port: int) -> tuple[Window, Window]:
    """Place every shard, then roll nodes, with lookups sent at a fixed rate for as long as each takes."""

    def lookup(number: int) -> bytes:
        name, shard = f"plan{number * 7919 % NAMESPACES:02}", f"shard-{number * 104729 % SHARDS_EACH:03}"
        return _request(_LOOKUP, {"n": name, "k": shard})

    await open_loop(port, lookup, rate=LOOKUP_RATE, seconds=SETTLING_SECONDS)
    windows = []
    for work in (Rolling.step, Rolling.roll):
        rolling = Rolling(port)
        task = asyncio.create_task(work(rolling))
        try:
            figures = await open_loop(port, lookup, rate=LOOKUP_RATE, until=task)
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        windows.append(Window(rolling.plans, rolling.applies, rolling.moved, figures))
    placing, rolled = windows
    return placing, rolled


def _request(document: str, variables: dict[str, Any]) -> bytes:
    return post("/graphql", json.dumps({"query": document, "variables": variables}).encode())


def spread(seconds: Sequence[float]) -> str:
    return f"median {median(seconds):.2f} s, worst {max(seconds):.2f} s"
