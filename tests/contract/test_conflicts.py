"""A stale expectation is a result with what is there instead, and nothing is written."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from persistence.commands.command import Command
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.shards import CreateShards, DeleteShards, ShardPatch, UpdateShards
from persistence.model.outcomes import (
    NamespaceConfigured,
    NotFound,
    ShardsChanged,
    StaleNamespace,
    StaleShard,
    VersionConflict,
)
from persistence.model.records import ShardKey
from persistence.service.executor import CommandExecutor
from tests.support.mesh import BILLING, CHANGE, SEARCH, Mesh, as_it_is, because, new, patch
from tests.support.replicas import ON_A_REPLICA_TOO

pytestmark = ON_A_REPLICA_TOO

# Once more when connections are open and statements prepared: only then do writers really meet.
ROUNDS: Final = ("a", "b", "c")


async def refused(mesh: Mesh, command: Command) -> VersionConflict | StaleNamespace | NotFound:
    """The refusal of a command that must leave no trace."""
    before = (await mesh.store.stream.head(), await mesh.changes(), await mesh.table(), await mesh.namespace())
    outcome = await mesh.execute(command)
    assert isinstance(outcome, (VersionConflict, StaleNamespace, NotFound)), outcome
    after = (await mesh.store.stream.head(), await mesh.changes(), await mesh.table(), await mesh.namespace())
    assert after == before
    return outcome


async def test_a_stale_version_names_the_current_record_and_who_changed_it(mesh: Mesh) -> None:
    first = await mesh.created("s1")
    outcome = await mesh.update(patch(first, owner_node_id="node-b"), change=because("failover", actor="rebalancer"))
    update = UpdateShards([patch(first, owner_node_id="node-c")], CHANGE)
    assert await refused(mesh, update) == VersionConflict(
        (StaleShard(first.key, expected=1, actual=2, current=outcome.shards[0], last_change=outcome.change),)
    )


async def test_a_version_of_the_future_is_as_stale_as_one_of_the_past(mesh: Mesh) -> None:
    shard = await mesh.created("s1")
    outcome = await refused(mesh, UpdateShards([patch(replace(shard, version=9), leader_id="x")], CHANGE))
    assert isinstance(outcome, VersionConflict)
    assert [(stale.expected, stale.actual) for stale in outcome.stale] == [(9, 1)]


async def test_a_shard_that_exists_cannot_be_created(mesh: Mesh) -> None:
    created = await mesh.create(new("s1"))
    assert await refused(mesh, CreateShards([new("s1", "node-b")], CHANGE)) == VersionConflict(
        (StaleShard(ShardKey(BILLING, "s1"), 0, 1, created.shards[0], created.change),)
    )


async def test_a_stale_deletion_is_refused(mesh: Mesh) -> None:
    first = await mesh.created("s1")
    second = await mesh.updated(first, leader_id="node-b")
    outcome = await refused(mesh, DeleteShards([as_it_is(first)], CHANGE))
    assert isinstance(outcome, VersionConflict)
    assert [(stale.expected, stale.actual, stale.current) for stale in outcome.stale] == [(1, 2, second)]


async def test_a_deleted_shard_is_a_conflict_that_names_the_deletion(mesh: Mesh) -> None:
    shard = await mesh.created("s1")
    deleted = await mesh.delete(shard)
    for command in (UpdateShards([patch(shard, leader_id="x")], CHANGE), DeleteShards([as_it_is(shard)], CHANGE)):
        assert await refused(mesh, command) == VersionConflict(
            (StaleShard(shard.key, expected=1, actual=0, current=None, last_change=deleted.change),)
        )


async def test_shards_that_never_were_are_not_found(mesh: Mesh) -> None:
    patches = [ShardPatch(BILLING, name, 1, leader_id="x") for name in ("b", "a")]
    expected = NotFound(shards=(ShardKey(BILLING, "b"), ShardKey(BILLING, "a")))
    assert await refused(mesh, UpdateShards(patches, CHANGE)) == expected


async def test_version_zero_is_no_way_to_update_or_delete(mesh: Mesh) -> None:
    shard = replace(await mesh.created("s1"), version=0)
    for command in (UpdateShards([patch(shard, leader_id="x")], CHANGE), DeleteShards([as_it_is(shard)], CHANGE)):
        assert isinstance(await refused(mesh, command), VersionConflict)
    absent = ShardPatch(BILLING, "s2", 0, leader_id="x")
    assert isinstance(await refused(mesh, UpdateShards([absent], CHANGE)), NotFound)


async def test_every_conflict_of_a_bulk_is_listed_in_the_order_asked_for(mesh: Mesh) -> None:
    created = await mesh.create(*(new(f"s{number}") for number in range(6)))
    fresh, stale, gone, *rest = created.shards
    moved = await mesh.update(patch(stale, owner_node_id="node-b"))
    deleted = await mesh.delete(gone)
    never = ShardPatch(BILLING, "never", 3, leader_id="x")
    patches = [patch(shard, leader_id="x") for shard in (*rest, gone, fresh, stale)]
    outcome = await refused(mesh, UpdateShards([never, *patches], CHANGE))
    assert outcome == VersionConflict(
        (
            StaleShard(never.key, 3, 0, None, None),
            StaleShard(gone.key, 1, 0, None, deleted.change),
            StaleShard(stale.key, 1, 2, moved.shards[0], moved.change),
        )
    )


async def test_every_conflict_of_a_large_bulk_is_listed(mesh: Mesh) -> None:
    created = await mesh.create(*(new(f"s{number:04}") for number in range(2_000)))
    await mesh.update(*(patch(shard, leader_id="x") for shard in created.shards[::2]))
    outcome = await refused(mesh, DeleteShards([as_it_is(shard) for shard in created.shards], CHANGE))
    assert isinstance(outcome, VersionConflict)
    assert [stale.key for stale in outcome.stale] == [shard.key for shard in created.shards[::2]]
    assert {(stale.expected, stale.actual) for stale in outcome.stale} == {(1, 2)}


async def test_every_unknown_namespace_is_named(mesh: Mesh) -> None:
    create = CreateShards([new("s1"), new("s1", namespace="zebra"), new("s2", namespace="antelope")], CHANGE)
    assert await refused(mesh, create) == NotFound(namespaces=("antelope", "zebra"))


async def test_a_shard_of_an_unknown_namespace_cannot_be_updated_or_deleted(mesh: Mesh) -> None:
    shard = replace(await mesh.created("s1"), namespace=SEARCH)
    for command in (UpdateShards([patch(shard, leader_id="x")], CHANGE), DeleteShards([as_it_is(shard)], CHANGE)):
        assert await refused(mesh, command) == NotFound(namespaces=(SEARCH,))


async def test_a_stale_configuration_names_the_current_one_and_who_made_it(mesh: Mesh) -> None:
    first = await mesh.configure(SEARCH)
    second = await mesh.configure(SEARCH, strategy="ring", expected=1, change=because("rings", actor="architect"))
    await mesh.create(new("s1", namespace=SEARCH))
    for expected in (0, 1, 3):
        command = ConfigureNamespace(SEARCH, "locality", {}, expected, CHANGE)
        current = await mesh.namespace(SEARCH)
        assert await refused(mesh, command) == StaleNamespace(SEARCH, expected, 2, current, second.change)
    assert first.change.hash != second.change.hash


async def test_a_configuration_of_a_namespace_that_is_not_there_is_stale(mesh: Mesh) -> None:
    command = ConfigureNamespace(SEARCH, "ring", {}, 1, CHANGE)
    assert await refused(mesh, command) == StaleNamespace(SEARCH, 1, 0, None, None)


async def test_of_many_writers_with_one_expectation_one_wins(mesh: Mesh) -> None:
    shard = await mesh.created("s1")
    for _ in ROUNDS:
        commands = [UpdateShards([patch(shard, owner_node_id=f"node-{number}")], CHANGE) for number in range(12)]
        outcomes = await asyncio.gather(*map(mesh.execute, commands))
        (winner,) = (outcome for outcome in outcomes if isinstance(outcome, ShardsChanged))
        lost = [outcome for outcome in outcomes if isinstance(outcome, VersionConflict)]
        assert len(lost) == 11
        assert {stale.current for outcome in lost for stale in outcome.stale} == set(winner.shards)
        assert {stale.last_change for outcome in lost for stale in outcome.stale} == {winner.change}
        (shard,) = winner.shards
        assert await mesh.shard("s1") == shard


async def test_of_many_who_create_one_shard_one_wins(mesh: Mesh) -> None:
    for name in ROUNDS:
        commands = [CreateShards([new(name, f"node-{number}")], CHANGE) for number in range(12)]
        outcomes = await asyncio.gather(*map(mesh.execute, commands))
        (winner,) = (outcome for outcome in outcomes if isinstance(outcome, ShardsChanged))
        assert sum(isinstance(outcome, VersionConflict) for outcome in outcomes) == 11
        assert await mesh.shard(name) == winner.shards[0]


async def test_of_many_who_create_a_deleted_shard_again_one_wins(mesh: Mesh) -> None:
    await mesh.delete(await mesh.created("s1"))
    for number in range(3):
        outcomes = await asyncio.gather(*(mesh.execute(CreateShards([new("s1")], CHANGE)) for _ in range(12)))
        (winner,) = (outcome for outcome in outcomes if isinstance(outcome, ShardsChanged))
        assert sum(isinstance(outcome, VersionConflict) for outcome in outcomes) == 11
        assert (winner.shards[0].version, winner.shards[0].owner_epoch) == (3 + 2 * number, 2 + number)
        await mesh.delete(winner.shards[0])


async def test_of_many_who_configure_one_namespace_one_wins(mesh: Mesh) -> None:
    for name in ROUNDS:
        commands = [ConfigureNamespace(name, "ring", {"virtualNodes": 10 + number}, 0, CHANGE) for number in range(8)]
        outcomes = await asyncio.gather(*map(mesh.execute, commands))
        (winner,) = (outcome for outcome in outcomes if isinstance(outcome, NamespaceConfigured))
        assert sum(isinstance(outcome, StaleNamespace) for outcome in outcomes) == 7
        assert await mesh.namespace(name) == winner.namespace


async def test_bulks_that_overlap_crosswise_do_not_deadlock(mesh: Mesh) -> None:
    """Each is decided at most twice: the second time on what the winner has written."""
    writer = CommandExecutor(mesh.store.unit_of_work, attempts=2)
    shards = (await mesh.create(*(new(f"s{number:02}") for number in range(40)))).shards
    for _ in ROUNDS:
        forward = UpdateShards([patch(shard, leader_id="f") for shard in shards], CHANGE)
        backward = UpdateShards([patch(shard, leader_id="b") for shard in reversed(shards)], CHANGE)
        outcomes = await asyncio.gather(*(writer.execute(command) for command in (forward, backward) * 4))
        (winner,) = (outcome for outcome in outcomes if isinstance(outcome, ShardsChanged))
        shards = tuple((await mesh.table()).values())
        assert {shard.leader_id for shard in shards} == {winner.shards[0].leader_id}
