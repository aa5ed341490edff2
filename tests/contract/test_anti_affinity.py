"""Anti-affinity: two shards of a group are never brought to one node, however many write at the same time."""

from __future__ import annotations

import asyncio

import pytest

from persistence.codec.encoding import shard_checksum
from persistence.commands.shards import CreateShards, UpdateShards
from persistence.model.outcomes import BrokenRule, PolicyViolation, ShardsChanged
from persistence.model.policy import PolicyRule
from persistence.model.records import AsOf, Shard
from tests.contract.conftest import Backend
from tests.support.mesh import BILLING, CHANGE, SEARCH, because, new, patch, refused
from tests.support.model import first_broken_link
from tests.support.planned_mesh import PlannedMesh

GROUP = "replicas-of-7"


async def grouped(mesh: PlannedMesh, *owners: str) -> list[Shard]:
    """Shards s0, s1 and so on of one group."""
    shards = (new(f"s{number}", owner, anti_affinity_group=GROUP) for number, owner in enumerate(owners))
    return list((await mesh.create(*shards)).shards)


def broken(shard_id: str, other: str, owner: str) -> BrokenRule:
    return BrokenRule(
        PolicyRule.ANTI_AFFINITY,
        BILLING,
        shard_id,
        f"{owner} owning {shard_id} beside {other}, both of group {GROUP}",
        f"one shard of group {GROUP} on a node",
        f"Give it another owner, or move {other} in the same change, or force it with a reason.",
    )


async def test_a_group_is_in_checksum_history_and_chain(mesh: PlannedMesh) -> None:
    shard = await mesh.created("s1")
    after = await mesh.updated(shard, anti_affinity_group=GROUP)
    assert (after.anti_affinity_group, await mesh.shard("s1")) == (GROUP, after)
    assert after.checksum == shard_checksum(after.key, after.content) != shard.checksum
    history = await mesh.history()
    assert (history[-1].changed_fields, history[-1].current) == (("antiAffinityGroup",), after)
    assert await mesh.shard("s1", as_of=AsOf(revision=2)) == after
    cleared = await mesh.updated(after, anti_affinity_group=None)
    assert (cleared.anti_affinity_group, cleared.checksum) == (None, shard.checksum)
    assert first_broken_link(await mesh.changes(), await mesh.history()) is None


async def test_a_shard_is_not_created_beside_one_of_its_group(mesh: PlannedMesh) -> None:
    await grouped(mesh, "node-a")
    command = CreateShards([new("s9", "node-a", anti_affinity_group=GROUP)], CHANGE)
    kept = await mesh.everything_kept()
    assert refused(await mesh.execute(command)).violations == (broken("s9", "s0", "node-a"),)
    assert await mesh.everything_kept() == kept


async def test_two_of_a_group_are_not_created_on_one_node(mesh: PlannedMesh) -> None:
    both = [new(f"s{number}", "node-a", anti_affinity_group=GROUP) for number in range(2)]
    violations = refused(await mesh.execute(CreateShards(both, CHANGE))).violations
    assert violations == (broken("s0", "s1", "node-a"), broken("s1", "s0", "node-a"))


async def test_a_shard_is_not_moved_beside_one_of_its_group(mesh: PlannedMesh) -> None:
    one, _ = await grouped(mesh, "node-a", "node-b")
    outcome = await mesh.execute(UpdateShards([patch(one, owner_node_id="node-b")], CHANGE))
    assert refused(outcome).violations == (broken("s0", "s1", "node-b"),)


async def test_a_shard_does_not_join_a_group_that_is_on_its_node(mesh: PlannedMesh) -> None:
    await grouped(mesh, "node-a")
    lone = await mesh.created("s9", "node-a")
    outcome = await mesh.execute(UpdateShards([patch(lone, anti_affinity_group=GROUP)], CHANGE))
    assert refused(outcome).violations == (broken("s9", "s0", "node-a"),)
    joined = await mesh.updated(lone, anti_affinity_group=GROUP, owner_node_id="node-b")
    assert (joined.owner_node_id, joined.anti_affinity_group) == ("node-b", GROUP)


async def test_two_of_a_group_change_places_in_one_change(mesh: PlannedMesh) -> None:
    one, two = await grouped(mesh, "node-a", "node-b")
    after = (await mesh.update(patch(one, owner_node_id="node-b"), patch(two, owner_node_id="node-a"))).shards
    assert [shard.owner_node_id for shard in after] == ["node-b", "node-a"]


async def test_groups_of_two_namespaces_are_two(mesh: PlannedMesh) -> None:
    await mesh.configure(SEARCH)
    await grouped(mesh, "node-a")
    (other,) = (await mesh.create(new("s0", "node-a", namespace=SEARCH, anti_affinity_group=GROUP))).shards
    assert (other.owner_node_id, other.anti_affinity_group) == ("node-a", GROUP)


async def test_who_leaves_makes_room(mesh: PlannedMesh) -> None:
    one, two, three = await grouped(mesh, "node-a", "node-b", "node-c")
    await mesh.delete(one)
    await mesh.updated(two, anti_affinity_group=None)
    moved = await mesh.updated(three, owner_node_id="node-a")
    assert (await mesh.updated(moved, owner_node_id="node-b")).owner_node_id == "node-b"


async def test_what_was_forced_together_does_not_keep_others_from_changing(mesh: PlannedMesh) -> None:
    one, two, three = await grouped(mesh, "node-a", "node-b", "node-c")
    force = because("two nodes are left", forced="until the third is back")
    (one,) = (await mesh.update(patch(one, owner_node_id="node-b"), change=force)).shards
    assert (await mesh.updated(two, capacity_hint=2.0)).owner_node_id == "node-b"
    assert (await mesh.updated(three, owner_node_id="node-d")).owner_node_id == "node-d"
    assert (await mesh.updated(one, owner_node_id="node-a")).owner_node_id == "node-a"


async def test_of_many_who_want_one_node_at_the_same_time_one_gets_it(mesh: PlannedMesh) -> None:
    shards = await grouped(mesh, *(f"node-{number}" for number in range(8)))
    asked = [mesh.execute(UpdateShards([patch(shard, owner_node_id="node-x")], CHANGE)) for shard in shards]
    asked += [
        mesh.execute(CreateShards([new(f"n{number}", "node-x", anti_affinity_group=GROUP)], CHANGE))
        for number in range(4)
    ]
    outcomes = await asyncio.gather(*asked)
    assert sum(isinstance(outcome, ShardsChanged) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, PolicyViolation) for outcome in outcomes) == len(asked) - 1
    owners = [shard.owner_node_id for shard in (await mesh.table()).values()]
    assert len(owners) == len(set(owners))


@pytest.mark.parametrize("strategy", ["rendezvous", "ring", "locality"])
async def test_a_plan_that_is_applied_brings_a_group_apart(mesh: PlannedMesh, strategy: str) -> None:
    await mesh.configure(strategy=strategy, expected=1)
    await mesh.registered(*(f"node-{number}" for number in range(4)))
    await mesh.filled(20, "node-0")
    shards = [new(f"g{number}", "gone", anti_affinity_group=GROUP) for number in range(4)]
    await mesh.create(*shards, change=because("bring them in", forced="they come from one node"))
    await mesh.apply((await mesh.plan()).plan)
    owners = {shard.owner_node_id for shard in (await mesh.table()).values() if shard.anti_affinity_group}
    assert owners == {f"node-{number}" for number in range(4)}
    assert not (await mesh.proposal((await mesh.plan()).plan)).moves


async def test_a_plan_that_would_meet_a_shard_of_the_group_is_refused(backend: Backend, mesh: PlannedMesh) -> None:
    """One that came to the node after the plan was made, which makes no plan stale."""
    await mesh.registered("node-a")
    await grouped(mesh, "gone")
    plan = (await mesh.plan()).plan
    await mesh.create(new("s9", "node-a", anti_affinity_group=GROUP))
    assert refused(await mesh.ask_to_apply(plan)).violations == (broken("s0", "s9", "node-a"),)
    snapshot = await backend.store.placement.snapshot()
    assert [shard.group for shard in snapshot.shards[BILLING]] == [GROUP, GROUP]
