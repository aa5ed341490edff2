"""Thousands of shards in one change."""

from __future__ import annotations

import pytest

from persistence.commands.shards import UpdateShards
from persistence.model.outcomes import VersionConflict
from persistence.model.records import ShardStatus
from persistence.ports.store import Store
from persistence.postgres.store import open_store
from persistence.service.group_commit import LARGEST_CHANGE
from tests.support.mesh import CHANGE, Mesh, because, new, patch
from tests.support.planned_mesh import PlannedMesh
from tests.support.statements import statements


async def filled(store: Store, count: int) -> Mesh:
    mesh = Mesh(store)
    await mesh.configure()
    await mesh.create(*(new(f"s{number:04}") for number in range(count)))
    return mesh


@pytest.mark.parametrize("count", [1, 10, 5_000])
async def test_the_number_of_statements_does_not_depend_on_the_number_of_shards(database_url: str, count: int) -> None:
    async with open_store(database_url) as store:
        mesh = await filled(store, count)
        shards = list((await mesh.table()).values())
        with statements() as sent:
            await mesh.update(*(patch(shard, owner_node_id="node-b") for shard in shards))
        # Read the namespaces, read the shards, write; what goes with a group reads both in one statement.
        assert len(sent) == (2 if count <= LARGEST_CHANGE else 3), sent


@pytest.mark.parametrize("count", [1, 10, 5_000])
async def test_a_plan_takes_as_many_statements_whatever_it_moves(database_url: str, count: int) -> None:
    async with open_store(database_url) as store:
        mesh = PlannedMesh(store)
        await mesh.configure()
        await mesh.registered("node-a")
        await mesh.filled(count, "gone")
        with statements() as sent:
            plan = (await mesh.plan()).plan
        # Head, namespaces, nodes and shards in one snapshot; read the plan that might be there, write.
        assert (plan.move_count, len(sent)) == (count, 6), sent
        with statements() as sent:
            await mesh.apply(plan)
        # Read the plan, older plans, namespaces, nodes and shards; write.
        assert len(sent) == 6, sent


async def test_5000_shards_are_one_change_with_5000_rows_of_history(database_url: str) -> None:
    async with open_store(database_url) as store:
        mesh = await filled(store, 5_000)
        before = await mesh.table()
        change = because("move everything", change_ticket="CHG-5000")
        outcome = await mesh.update(*(patch(shard, owner_node_id="node-b") for shard in before.values()), change=change)
        assert (outcome.change.shard_count, outcome.change.change_ticket) == (5_000, "CHG-5000")
        rows = [row for row in await mesh.history() if row.change.id == outcome.change.id]
        assert [row.revision for row in rows] == list(range(5_001, 10_001))
        assert {row.previous for row in rows} == set(before.values())
        assert {row.current for row in rows} == set((await mesh.table()).values())


async def test_one_stale_version_among_5000_changes_nothing_and_is_named(database_url: str) -> None:
    async with open_store(database_url) as store:
        mesh = await filled(store, 5_000)
        shards = list((await mesh.table()).values())
        winner = await mesh.update(patch(shards[77], status=ShardStatus.PAUSED), change=because("first", actor="alice"))
        head, table = await mesh.store.stream.head(), await mesh.table()
        outcome = await mesh.execute(UpdateShards([patch(shard, owner_node_id="node-b") for shard in shards], CHANGE))
        assert isinstance(outcome, VersionConflict)
        (stale,) = outcome.stale
        assert (stale.key, stale.expected, stale.actual) == (shards[77].key, 1, 2)
        assert stale.last_change == winner.change
        assert (await mesh.store.stream.head(), await mesh.table()) == (head, table)
