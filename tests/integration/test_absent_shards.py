"""A shard that is not there is held like one that is: no version and no owner epoch is ever given twice.

History is in partitions of ten revisions, so that no unique index sees both sides of what is told here.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import pytest

from persistence.commands.command import Command
from persistence.commands.shards import CreateShards, DeleteShards, UpdateShards
from persistence.model.outcomes import Outcome, ShardsChanged, VersionConflict
from persistence.model.records import DiffKind, ShardKey
from persistence.postgres.audit.verify import verify
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from tests.support.audited_mesh import shown
from tests.support.length import rounds
from tests.support.mesh import CHANGE, Mesh, as_it_is, because, changed, new, patch
from tests.support.partitions import repartition
from tests.support.replay import contradictions
from tests.support.slow_writer import Overtaking, SlowWriter

SPAN = 10


@dataclass(frozen=True)
class Race:
    """`mesh` goes on while `slow`, another process, has decided and not committed."""

    mesh: Mesh
    slow: SlowWriter
    url: str

    async def decided_before(self, command: Command, others: Callable[[], Awaitable[object]]) -> Outcome:
        """What becomes of a command that is decided, then overtaken, then committed."""
        async with asyncio.TaskGroup() as tasks:
            slow = tasks.create_task(CommandExecutor(self.slow).execute(command))
            await self.slow.decided.wait()
            await others()
            self.slow.go.set()
        return slow.result()

    async def pass_a_boundary(self) -> None:
        """Until the next revision is in another partition than the last one of before."""
        before = (await self.mesh.store.stream.head()).revision
        shard = await self.mesh.created(f"filler-{before}")
        while shard.revision // SPAN == before // SPAN:
            shard = await self.mesh.updated(shard, owner_node_id=f"node-{shard.version}")

    async def given(self) -> Sequence[tuple[int, int, str]]:
        """Version, owner epoch and owner of x, as history tells them."""
        rows = [row.current for row in await self.mesh.history() if row.shard_id == "x"]
        return [(row.version, row.owner_epoch, row.owner_node_id) for row in rows if row is not None]


@pytest.fixture
async def race(database_url: str) -> AsyncIterator[Race]:
    await repartition(database_url, SPAN)
    async with (
        open_store(database_url, history_span=SPAN) as store,
        open_store(database_url, history_span=SPAN) as other,
    ):
        mesh = Mesh(store)
        await mesh.configure()
        yield Race(mesh, SlowWriter(other.unit_of_work), database_url)


async def come_and_gone(race: Race) -> None:
    """Others create x, delete it, and the boundary is passed."""
    shard = await race.mesh.created("x", "node-quick")
    await race.mesh.delete(shard)
    await race.pass_a_boundary()


async def test_a_creation_decided_before_another_life_goes_on_from_that_life(race: Race) -> None:
    """The second creation of x as version 3 with owner epoch 2, across a boundary, would be a second holder of one
    fencing token."""
    await race.mesh.delete(await race.mesh.created("x", "node-first"))
    create = CreateShards([new("x", "node-slow")], because("slow"))
    outcome = changed(await race.decided_before(create, lambda: come_and_gone(race)))
    assert await race.given() == [(1, 1, "node-first"), (3, 2, "node-quick"), (5, 3, "node-slow")]
    assert [(shard.version, shard.owner_epoch) for shard in outcome.shards] == [(5, 3)]
    assert shown(await verify(race.url)) == []


async def test_a_creation_decided_before_the_first_life_goes_on_from_that_life(race: Race) -> None:
    create = CreateShards([new("x", "node-slow"), new("y", "node-slow")], because("slow"))
    changed(await race.decided_before(create, lambda: come_and_gone(race)))
    assert await race.given() == [(1, 1, "node-quick"), (3, 2, "node-slow")]
    assert shown(await verify(race.url)) == []


async def test_a_creation_decided_before_another_created_the_shard_is_a_conflict(race: Race) -> None:
    async def others() -> None:
        await race.mesh.created("x", "node-quick")
        await race.pass_a_boundary()

    create = CreateShards([new("x", "node-slow")], because("slow"))
    outcome = await race.decided_before(create, others)
    assert isinstance(outcome, VersionConflict), outcome
    assert await race.given() == [(1, 1, "node-quick")]
    assert shown(await verify(race.url)) == []


WRITERS = 6
OPERATIONS = rounds(400, 40)


@pytest.mark.timeout(240)
async def test_shards_that_come_and_go_under_many_writers_are_given_nothing_twice(database_url: str) -> None:
    """Six writers of two processes create, change, move and delete three shards, over many partitions; what is decided
    waits until others have gone on."""
    await repartition(database_url, SPAN)
    randomness = random.Random(20261129)
    overtaking = Overtaking(randomness, most=8)
    async with (
        open_store(database_url, history_span=SPAN) as first,
        open_store(database_url, history_span=SPAN) as second,
    ):
        mesh = Mesh(first)
        await mesh.configure()

        async def work(number: int) -> None:
            store = (first, second)[number % 2]
            writer = CommandExecutor(overtaking.writing(store.unit_of_work))
            async with overtaking.worker():
                for _ in range(OPERATIONS):
                    command = await _some_command(Mesh(store), randomness)
                    if isinstance(await writer.execute(command), ShardsChanged):
                        await overtaking.committed()

        async with asyncio.TaskGroup() as tasks:
            for number in range(WRITERS):
                tasks.create_task(work(number))
        changes, history, table = await mesh.changes(), await mesh.history(), await mesh.table()

    assert len({row.revision // SPAN for row in history}) > 5
    assert sum(row.kind is DiffKind.CREATED for row in history) > 20
    versions = Counter((row.key, row.version) for row in history)
    assert [one for one, times in versions.items() if times > 1] == []
    owners: dict[tuple[ShardKey, int], set[str]] = {}
    for row in history:
        if row.current is not None:
            owners.setdefault((row.key, row.current.owner_epoch), set()).add(row.current.owner_node_id)
    assert {token: holders for token, holders in owners.items() if len(holders) > 1} == {}
    assert [*contradictions(changes, history, table)] == []
    assert shown(await verify(database_url)) == []


async def _some_command(mesh: Mesh, randomness: random.Random) -> Command:
    shard_id, owner = randomness.choice(["x", "y", "z"]), f"node-{randomness.randrange(5)}"
    shard = await mesh.shard(shard_id)
    if shard is None:
        return CreateShards([new(shard_id, owner)], CHANGE)
    if randomness.random() < 0.5:
        return DeleteShards([as_it_is(shard)], CHANGE)
    fields = {"owner_node_id": owner} if owner != shard.owner_node_id else {"capacity_hint": shard.capacity_hint + 1}
    return UpdateShards([patch(shard, **fields)], CHANGE)
