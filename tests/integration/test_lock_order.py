"""Every kind of change at once, by two server processes, with compactions: nothing deadlocks, and no row is waited for
while the stream head is held."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final, TypeAlias

import pytest
from sqlalchemy.exc import DBAPIError

from persistence.commands.nodes import DrainNode
from persistence.commands.plans import ApplyPlan, ApprovePlan, StopPlan
from persistence.commands.shards import CreateShards, DeleteShards, PinRequest, UpdateShards
from persistence.errors import FutureCursor, InvalidArgument, TransientConflict
from persistence.model.outcomes import PlanProposed
from persistence.model.policy import NamespacePolicy
from persistence.model.records import NodeStatus, Shard
from persistence.planning.planner import PlacementImpossible
from persistence.postgres import unit_of_work
from persistence.postgres.audit.verify import verify
from persistence.postgres.compaction import PostgresRetention
from persistence.postgres.store import open_store
from persistence.service.rebalancer import PlanRequest
from tests.support.length import rounds
from tests.support.mesh import BILLING, SEARCH, as_it_is, because, new, patch
from tests.support.partitions import repartition
from tests.support.planned_mesh import PlannedMesh
from tests.support.sql import fetch

TIMES: Final = rounds(150, 12)
"""That each worker does what it does."""

SHARDS: Final = 100
NODES: Final = ("node-a", "node-b", "node-c")
SPAN: Final = 200

# Of sessions that have ended: they have reported what they met.
_DEADLOCKS: Final = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"

Work: TypeAlias = Callable[[PlannedMesh, random.Random], Awaitable[object]]


async def some(mesh: PlannedMesh, dice: random.Random, count: int, namespace: str = BILLING) -> list[Shard]:
    table = [shard for shard in (await mesh.table()).values() if shard.namespace == namespace]
    return dice.sample(table, min(count, len(table)))


async def move(mesh: PlannedMesh, dice: random.Random) -> object:
    """Eight at once: a group."""
    shards = await some(mesh, dice, 8, dice.choice((BILLING, SEARCH)))
    moves = [UpdateShards([patch(shard, owner_node_id=dice.choice(NODES))], because("move")) for shard in shards]
    return await asyncio.gather(*map(mesh.execute, moves))


async def move_with_a_key(mesh: PlannedMesh, dice: random.Random) -> object:
    (shard,) = await some(mesh, dice, 1)
    change = because("move", idempotency_key=f"key {dice.randrange(10)}")
    return await mesh.execute(UpdateShards([patch(shard, owner_node_id=dice.choice(NODES))], change))


async def move_many(mesh: PlannedMesh, dice: random.Random) -> object:
    patches = [patch(shard, owner_node_id=dice.choice(NODES)) for shard in await some(mesh, dice, 80)]
    return await mesh.execute(UpdateShards(patches, because("move many")))


async def pin(mesh: PlannedMesh, dice: random.Random) -> object:
    (shard,) = await some(mesh, dice, 1)
    request = None if shard.pinned else PinRequest("hot tenant")
    return await mesh.execute(UpdateShards([patch(shard, owner_node_id="node-a", pin=request)], because("pin")))


async def come_and_go(mesh: PlannedMesh, dice: random.Random) -> object:
    shards = await some(mesh, dice, 3, SEARCH)
    await mesh.execute(DeleteShards([as_it_is(shard) for shard in shards], because("go")))
    again = [new(shard.shard_id, dice.choice(NODES), namespace=SEARCH) for shard in shards]
    return await mesh.execute(CreateShards([*again, new(f"x{dice.randrange(40)}", "node-a")], because("come")))


async def configure(mesh: PlannedMesh, dice: random.Random) -> object:
    name = dice.choice((BILLING, SEARCH))
    policy = NamespacePolicy(move_budget_percent=100, window_moves=dice.choice((None, 100_000)))
    return await mesh.configure(name, expected=(await mesh.namespace(name)).version, policy=policy)


async def change_a_node(mesh: PlannedMesh, dice: random.Random) -> object:
    return await mesh.mark(dice.choice(NODES), weight=dice.randint(1, 5), status=NodeStatus.ACTIVE)


async def drain_a_node(mesh: PlannedMesh, dice: random.Random) -> object:
    node = await mesh.node(dice.choice(NODES[1:]))
    return await mesh.execute(DrainNode(node.node_id, node.version, because("drain")))


async def plan(mesh: PlannedMesh, dice: random.Random) -> object:
    outcome = await mesh.rebalancer.plan(PlanRequest(None, 20), because("plan"))
    assert isinstance(outcome, PlanProposed)
    for command in (ApprovePlan, ApplyPlan, StopPlan):
        await mesh.execute(command(outcome.plan.id, because("a wave")))
    return await mesh.execute(ApplyPlan(outcome.plan.id, because("on"), dice.randint(1, 20), resume=True))


ALL: Final[tuple[Work, ...]] = (
    move,
    move_with_a_key,
    move_many,
    pin,
    come_and_go,
    configure,
    change_a_node,
    drain_a_node,
    plan,
)


async def compact(url: str, mesh: PlannedMesh, done: asyncio.Event) -> None:
    while not done.is_set():
        head = (await mesh.store.stream.head()).revision
        try:
            await PostgresRetention(url).compact(max(head - SPAN, 1), because("compact"))
        except (TransientConflict, FutureCursor):
            continue


@pytest.mark.timeout(600)
async def test_changes_of_all_kinds_wait_for_each_other_at_the_head_alone(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[DBAPIError] = []
    is_locked = unit_of_work.is_locked

    def noted(error: DBAPIError) -> bool:
        if locked := is_locked(error):
            waited.append(error)
        return locked

    for module in ("unit_of_work", "group_commit"):
        monkeypatch.setattr(f"persistence.postgres.{module}.is_locked", noted)
    await repartition(database_url, SPAN)
    met: Counter[str] = Counter()
    made: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        meshes = [
            PlannedMesh(await stack.enter_async_context(open_store(database_url, history_span=SPAN))) for _ in range(2)
        ]
        for namespace in (BILLING, SEARCH):
            await meshes[0].configure(namespace)
            await meshes[0].create(*(new(f"s{number:03}", namespace=namespace) for number in range(SHARDS)))
        await meshes[0].registered(*NODES)

        async def repeat(work: Work, mesh: PlannedMesh, seed: int) -> None:
            dice = random.Random(f"{work.__name__} {seed}")
            for _ in range(TIMES):
                try:
                    await work(mesh, dice)
                    made[work.__name__] += 1
                except (TransientConflict, InvalidArgument, AssertionError, PlacementImpossible) as error:
                    met[type(error).__name__] += 1  # refused, or too much is changed under it

        done = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(compact(database_url, meshes[0], done))
            async with asyncio.TaskGroup() as workers:
                for work in ALL:
                    for seed, mesh in enumerate(meshes):
                        workers.create_task(repeat(work, mesh, seed))
            done.set()
        floor = (await meshes[0].store.stream.head()).floor
    assert await fetch(database_url, _DEADLOCKS) == [(0,)]
    assert waited == []
    assert made.keys() == {work.__name__ for work in ALL}, (made, met)
    assert floor > 0
    assert (await verify(database_url)).findings.count == 0
