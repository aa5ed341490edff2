"""How often each kind of command waits for PostgreSQL, counted on the wire: the table of docs/decisions/0044."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from persistence.commands.command import Command
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.nodes import DrainNode, RegisterNode, UpdateNode
from persistence.commands.plans import ApplyPlan, ApprovePlan, RejectPlan, StorePlan
from persistence.commands.shards import CreateShards, DeleteShards, PinRequest, ShardExpectation, UpdateShards
from persistence.model.policy import NamespacePolicy
from persistence.model.records import Shard
from persistence.postgres.store import open_store
from tests.support.mesh import BILLING, CHANGE, SEARCH, as_it_is, because, new, patch
from tests.support.planned_mesh import PlannedMesh
from tests.support.round_trips import RoundTrips, round_trips

DECISION: Final = Path(__file__).parents[2] / "docs/decisions/0044-nothing-holds-up-everyone.md"

NUMBERS: Final = count(1)

Prepare: TypeAlias = Callable[[PlannedMesh], Awaitable[Sequence[Command]]]


async def shard_of(mesh: PlannedMesh, namespace: str = BILLING) -> Shard:
    return await mesh.created(f"s{next(NUMBERS)}", namespace=namespace)


async def update(mesh: PlannedMesh) -> Sequence[Command]:
    return [UpdateShards([patch(await shard_of(mesh), owner_node_id="node-b")], CHANGE)]


async def update_with_a_key(mesh: PlannedMesh) -> Sequence[Command]:
    change = because("once", idempotency_key=f"key {next(NUMBERS)}")
    return [UpdateShards([patch(await shard_of(mesh), owner_node_id="node-b")], change)]


async def again_with_its_key(mesh: PlannedMesh) -> Sequence[Command]:
    (command,) = await update_with_a_key(mesh)
    await mesh.execute(command)
    return [command]


async def eight_at_once(mesh: PlannedMesh) -> Sequence[Command]:
    return [UpdateShards([patch(await shard_of(mesh), owner_node_id="node-b")], CHANGE) for _ in range(8)]


async def create(_: PlannedMesh) -> Sequence[Command]:
    return [CreateShards([new(f"s{next(NUMBERS)}")], CHANGE)]


async def delete(mesh: PlannedMesh) -> Sequence[Command]:
    return [DeleteShards([as_it_is(await shard_of(mesh))], CHANGE)]


async def stale(mesh: PlannedMesh) -> Sequence[Command]:
    return [DeleteShards([ShardExpectation(BILLING, (await shard_of(mesh)).shard_id, 7)], CHANGE)]


async def pin(mesh: PlannedMesh) -> Sequence[Command]:
    return [UpdateShards([patch(await shard_of(mesh), pin=PinRequest("hot tenant"))], CHANGE)]


async def grouped(_: PlannedMesh) -> Sequence[Command]:
    return [CreateShards([new(f"s{next(NUMBERS)}", anti_affinity_group=f"g{next(NUMBERS)}")], CHANGE)]


async def windowed(mesh: PlannedMesh) -> Sequence[Command]:
    return [UpdateShards([patch(await shard_of(mesh, SEARCH), owner_node_id="node-b")], CHANGE)]


async def bulk(_: PlannedMesh) -> Sequence[Command]:
    return [CreateShards([new(f"s{next(NUMBERS)}") for _ in range(300)], CHANGE)]


async def configure(mesh: PlannedMesh) -> Sequence[Command]:
    return [ConfigureNamespace(BILLING, "ring", {}, (await mesh.namespace()).version, CHANGE)]


async def register_a_node(_: PlannedMesh) -> Sequence[Command]:
    return [RegisterNode(f"node-{next(NUMBERS)}", CHANGE)]


async def update_a_node(mesh: PlannedMesh) -> Sequence[Command]:
    return [UpdateNode("node-a", (await mesh.node("node-a")).version, CHANGE, weight=2)]


async def drain_a_node(mesh: PlannedMesh) -> Sequence[Command]:
    (node,) = await mesh.registered(f"node-{next(NUMBERS)}")
    return [DrainNode(node.node_id, node.version, CHANGE)]


async def plan_id(mesh: PlannedMesh) -> str:
    await mesh.created(f"p{next(NUMBERS)}", "gone")
    return (await mesh.plan()).plan.id


async def propose(mesh: PlannedMesh) -> Sequence[Command]:
    await mesh.created(f"p{next(NUMBERS)}", "gone")
    rejected = await mesh.reject((await mesh.plan()).plan)
    return [StorePlan(await mesh.proposal(rejected), CHANGE)]


async def approve(mesh: PlannedMesh) -> Sequence[Command]:
    return [ApprovePlan(await plan_id(mesh), CHANGE)]


async def reject(mesh: PlannedMesh) -> Sequence[Command]:
    return [RejectPlan(await plan_id(mesh), CHANGE)]


async def apply(mesh: PlannedMesh) -> Sequence[Command]:
    return [ApplyPlan(await plan_id(mesh), CHANGE, max_moves=1)]


@dataclass
class Counting:
    mesh: PlannedMesh
    trips: RoundTrips


@pytest.fixture
async def counting(database_url: str) -> AsyncIterator[Counting]:
    """On one connection for writing and one for reading."""
    async with (
        round_trips(database_url) as (trips, url),
        open_store(url, write_connections=1, read_connections=1) as store,
    ):
        mesh = PlannedMesh(store)
        await mesh.configure()
        await mesh.configure(SEARCH, policy=NamespacePolicy(window_moves=1_000, shard_window_moves=9))
        await mesh.registered("node-a", "node-b")
        yield Counting(mesh, trips)


def documented() -> Mapping[str, int]:
    """The rows of the table: of the test's name without underscores, how many."""
    rows = re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|$", DECISION.read_text(), re.MULTILINE)
    return {name: int(trips) for name, trips in rows}


KINDS: Final[Sequence[Prepare]] = (
    update,
    update_with_a_key,
    again_with_its_key,
    eight_at_once,
    create,
    delete,
    stale,
    pin,
    grouped,
    windowed,
    bulk,
    configure,
    register_a_node,
    update_a_node,
    drain_a_node,
    propose,
    approve,
    reject,
    apply,
)


@pytest.mark.parametrize("prepare", KINDS, ids=lambda prepare: prepare.__name__)
async def test_a_command_takes_as_many_round_trips_as_are_stated(counting: Counting, prepare: Prepare) -> None:
    mesh, trips = counting.mesh, counting.trips
    for _ in range(2):  # until the connection has prepared every statement
        commands = await prepare(mesh)
        trips.count = 0
        await asyncio.gather(*map(mesh.writer.execute, commands))
    assert trips.count == documented()[prepare.__name__]


def test_every_kind_is_stated() -> None:
    assert documented().keys() == {prepare.__name__ for prepare in KINDS}
