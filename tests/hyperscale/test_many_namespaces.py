"""10,000 shards in 50 namespaces: nodes roll, two rebalancers plan and apply, operators edit, readers read.

How fast that goes is measured by `make bench`; here it must be right in every interleaving.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest

from persistence.commands.nodes import DrainNode, RegisterNode, UpdateNode
from persistence.commands.plans import ApplyPlan
from persistence.commands.shards import UpdateShards
from persistence.model.outcomes import (
    NodeChanged,
    Outcome,
    PlanApplied,
    PlanClosed,
    PlanProposed,
    ShardsChanged,
    StalePlan,
    VersionConflict,
)
from persistence.model.records import ChangeKind, NodeStatus, Shard, ShardDiff, ShardKey
from persistence.ports.store import Store
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from persistence.service.rebalancer import PlanRequest, Rebalancer
from strategies import model
from strategies.registry import Registry
from tests.support.length import rounds
from tests.support.mesh import Mesh, because, new, patch
from tests.support.model import digest_of, first_broken_link, replay

NAMESPACES: Final = {f"ns{number:02}": ("rendezvous", "ring", "locality")[number % 3] for number in range(50)}
SHARDS_EACH: Final = rounds(200, 60)
REGIONS: Final = ("eu", "us", "ap")


@dataclass
class Rebalancing:
    """An operator that plans and applies until the mesh is as the strategies place it, or others conflict too often."""

    name: str
    rebalancer: Rebalancer
    writer: CommandExecutor
    applied: list[PlanApplied] = field(default_factory=list)
    stale: list[StalePlan] = field(default_factory=list)
    closed: list[PlanClosed] = field(default_factory=list)

    async def once(self, namespaces: Sequence[str] | None = None) -> int:
        """How many moves the plan had."""
        change = because("nodes have changed", actor=self.name, change_ticket="CHG-1")
        proposed = await self.rebalancer.plan(PlanRequest(namespaces), change)
        assert isinstance(proposed, PlanProposed), proposed
        if proposed.plan.move_count:
            self._count(await self.writer.execute(ApplyPlan(proposed.plan.id, change)))
        return proposed.plan.move_count

    def _count(self, outcome: Outcome) -> None:
        match outcome:
            case PlanApplied():
                self.applied.append(outcome)
            case StalePlan():
                self.stale.append(outcome)
            case PlanClosed():
                self.closed.append(outcome)
            case _:
                raise AssertionError(outcome)


@dataclass
class Roller:
    """Registers, re-weights and drains nodes."""

    writer: CommandExecutor
    versions: dict[str, int] = field(default_factory=dict)

    async def join(self, number: int) -> None:
        node_id, region = f"node-{number:02}", REGIONS[number % 3]
        await self._done(RegisterNode(node_id, because("more room"), region, f"{region}-{number % 2}"))

    async def reweigh(self, number: int, weight: int) -> None:
        node_id = f"node-{number:02}"
        await self._done(UpdateNode(node_id, self.versions[node_id], because("bigger machine"), weight=weight))

    async def drain(self, number: int) -> None:
        node_id = f"node-{number:02}"
        await self._done(DrainNode(node_id, self.versions[node_id], because("maintenance")))

    async def _done(self, command: RegisterNode | UpdateNode | DrainNode) -> None:
        outcome = await self.writer.execute(command)
        assert isinstance(outcome, NodeChanged), outcome
        self.versions[outcome.node.node_id] = outcome.node.version


async def edit(writer: CommandExecutor, shards: Sequence[Shard], randomness: random.Random, stop: asyncio.Event) -> int:
    """An operator who pauses and resumes shards, never moving any. How many edits were made."""
    seen = {shard.key: shard for shard in shards}
    edits = 0
    while not stop.is_set():
        shard = seen[randomness.choice(list(seen))]
        change = because("look into it", actor="operator", change_ticket="CHG-2")
        outcome = await writer.execute(UpdateShards([patch(shard, capacity_hint=float(edits % 7))], change))
        if isinstance(outcome, ShardsChanged):
            edits += 1
            (after,) = outcome.shards
        else:
            assert isinstance(outcome, VersionConflict), outcome
            after = next(stale.current for stale in outcome.stale if stale.current is not None)
        seen[after.key] = after
    return edits


async def read(store: Store, randomness: random.Random, stop: asyncio.Event) -> int:
    """A mesh node that looks shards up: none may be missing, and none may go back in time."""
    seen: dict[ShardKey, int] = {}
    lookups = 0
    while not stop.is_set():
        key = ShardKey(randomness.choice(list(NAMESPACES)), f"s{randomness.randrange(SHARDS_EACH):03}")
        shard = (await store.shards.get(key)).value
        assert shard is not None
        assert shard.version >= seen.get(key, 0)
        seen[key] = shard.version
        lookups += 1
    return lookups


@asynccontextmanager
async def stores(database_url: str, count: int) -> AsyncIterator[list[Store]]:
    """As so many server processes would have them."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_store(database_url)) for _ in range(count)]


async def owners_by_the_library(store: Store) -> dict[ShardKey, str]:
    """From nodes and namespaces alone, by each strategy directly."""
    snapshot = await store.placement.snapshot()
    nodes = [
        model.Node(node.node_id, node.weight, node.region, node.zone, node.labels)
        for node in snapshot.nodes
        if node.status is NodeStatus.ACTIVE
    ]
    owners = {}
    for name, strategy in NAMESPACES.items():
        placer = Registry().placer(strategy, {}, nodes)
        for shard in snapshot.shards[name]:
            asked = model.Shard(shard.shard_id, shard.capacity_hint, shard.locality_hint)
            owners[ShardKey(name, shard.shard_id)] = placer.rank(name, asked)[0]
    return owners


@pytest.mark.timeout(240)
async def test_a_rolling_mesh_under_concurrent_edits_ends_where_the_strategies_say(database_url: str) -> None:
    async with stores(database_url, 2) as (one, two):
        mesh = Mesh(one)
        for name, strategy in NAMESPACES.items():
            await mesh.configure(name, strategy=strategy)
        hints = (None, "eu", "us/us-1", "zone:ap-0")
        created = await mesh.create(
            *(
                new(f"s{number:03}", "nobody", namespace=name, locality_hint=hints[number % 4])
                for name in NAMESPACES
                for number in range(SHARDS_EACH)
            )
        )
        writers = [CommandExecutor(store.unit_of_work) for store in (one, two)]
        rebalancers = [
            Rebalancing(f"rebalancer-{number}", Rebalancer(store, writer, Registry()), writer)
            for number, (store, writer) in enumerate(zip((one, two), writers, strict=True))
        ]
        roller = Roller(writers[0])
        for number in range(12):
            await roller.join(number)
        assert await rebalancers[0].once() == len(created.shards)

        stop = asyncio.Event()
        sample = random.Random(5).sample(list((await mesh.table()).values()), 400)
        others = [
            asyncio.create_task(edit(writers[1], sample, random.Random(6), stop)),
            asyncio.create_task(read(one, random.Random(7), stop)),
            asyncio.create_task(read(two, random.Random(8), stop)),
        ]
        steps = (roller.join(12), roller.drain(0), roller.reweigh(3, 4), roller.drain(5), roller.join(13))
        for step in steps:
            await step
            await asyncio.gather(*(rebalancing.once() for rebalancing in rebalancers))
        stop.set()
        edits, *lookups = await asyncio.gather(*others)
        # There are no conflicts any more: at most one plan is left to make, and after it there is nothing to do.
        await rebalancers[0].once()
        assert await rebalancers[1].once() == 0

        table, history, changes = await mesh.table(), await mesh.history(), await mesh.changes()
        assert {key: shard.owner_node_id for key, shard in table.items()} == await owners_by_the_library(one)
        for name in NAMESPACES:
            namespace = await mesh.namespace(name)
            assert namespace.digest == digest_of(shard for key, shard in table.items() if key.namespace == name)

    assert edits > 0
    assert all(count > 0 for count in lookups)
    assert replay(history) == table
    assert [row.revision for row in history] == list(range(1, len(history) + 1))
    assert first_broken_link(changes, history) is None
    _moves_are_explained(history, [applied for one in rebalancers for applied in one.applied])


def _moves_are_explained(history: Sequence[ShardDiff], applied: Sequence[PlanApplied]) -> None:
    """Exactly the rows that plans wrote moved a shard; each says why, and its change how much of the mesh moved."""
    by_plans = {outcome.change.id: outcome for outcome in applied}
    for row in history:
        moved = row.previous is not None and row.current is not None
        moved = moved and row.previous.owner_node_id != row.current.owner_node_id  # type: ignore[union-attr]
        assert moved is (row.change.kind is ChangeKind.APPLY_PLAN) is (row.move_reason is not None)
        if moved:
            outcome = by_plans[row.change.id]
            assert row.change.rebalance is not None
            assert row.change.rebalance.plan_id == outcome.plan.id
            assert row.change.rebalance.diff_percent == pytest.approx(
                100 * row.change.shard_count / (SHARDS_EACH * len(NAMESPACES))
            )
