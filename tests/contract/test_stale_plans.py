"""A plan is refused once the mesh is no longer what it relies on, and the refusal names what has changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from persistence.commands.plans import StorePlan
from persistence.commands.shards import PinRequest
from persistence.model.outcomes import FieldChange, PlanProposed, StalePlan, StalePlanned, StaleShard
from persistence.model.plans import RebalancePlan
from persistence.model.policy import NamespacePolicy
from persistence.model.records import NodeStatus
from persistence.planning.proposal import PlannedNode, placement_digest, read_proposal
from tests.support.mesh import BILLING, CHANGE, SEARCH, because, new, patch
from tests.support.planned_mesh import PlannedMesh

NODES: Final = ("node-a", "node-b", "node-c")


async def stale(mesh: PlannedMesh, plan: RebalancePlan) -> StalePlan:
    """The refusal of a plan, which must leave no trace."""
    before = await mesh.everything_kept()
    outcome = await mesh.ask_to_apply(plan)
    assert isinstance(outcome, StalePlan), outcome
    assert await mesh.everything_kept() == before
    assert outcome.plan == plan
    return outcome


async def test_shards_that_changed_since_are_listed_with_who_changed_them(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    plan = (await mesh.plan()).plan
    table = await mesh.table()
    edited, gone, reborn, *_ = (table[move.key] for move in (await mesh.proposal(plan)).moves)
    edit = await mesh.update(patch(edited, capacity_hint=2.0), change=because("resize", actor="alice"))
    deletion = await mesh.delete(gone)
    await mesh.delete(reborn)
    creation = await mesh.create(new(reborn.shard_id))
    assert await stale(mesh, plan) == StalePlan(
        plan,
        (
            StaleShard(edited.key, 1, 2, edit.shards[0], edit.change, ("capacityHint",)),
            StaleShard(gone.key, 1, 0, None, deletion.change),
            StaleShard(reborn.key, 1, 3, creation.shards[0], creation.change),
        ),
    )


async def test_shards_that_a_plan_does_not_move_may_change(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    plan = (await mesh.plan()).plan
    moved = {move.key for move in (await mesh.proposal(plan)).moves}
    stays = next(shard for key, shard in (await mesh.table()).items() if key not in moved)
    await mesh.updated(stays, leader_id="x")
    await mesh.create(new("another", "node-b"))
    await mesh.apply(plan)


async def test_a_namespace_that_was_reconfigured_is_named(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    await mesh.configure(SEARCH)
    await mesh.filled(3, "gone", SEARCH)
    plan, alone = (await mesh.plan()).plan, (await mesh.plan(SEARCH)).plan
    await mesh.configure(strategy="ring", expected=1)
    refused = await stale(mesh, plan)
    assert (refused.shards, refused.namespaces, refused.node_ids) == ((), (BILLING,), ())
    await mesh.apply(alone)


@pytest.mark.parametrize("status", [status for status in NodeStatus if status is not NodeStatus.ACTIVE])
async def test_a_node_that_may_be_given_nothing_any_more_is_named(mesh: PlannedMesh, status: NodeStatus) -> None:
    await mesh.unbalanced()
    plan = (await mesh.plan()).plan
    await mesh.mark("node-c", status=status)
    refused = await stale(mesh, plan)
    assert (refused.shards, refused.namespaces, refused.node_ids) == ((), (), ("node-c",))


async def test_nodes_that_shards_are_moved_between_must_be_as_they_were(mesh: PlannedMesh) -> None:
    """A node that came back, or became heavier, would be given other shards, or keep its own."""
    await mesh.unbalanced()
    await mesh.mark("node-a", status=NodeStatus.DOWN)
    plan = (await mesh.plan()).plan
    a, b, c = [await mesh.node(node_id) for node_id in NODES]
    assert (await mesh.proposal(plan)).nodes == tuple(
        PlannedNode(node.node_id, node.version, placement_digest(node)) for node in (a, b, c)
    )
    assert (a.version, b.version, c.version) == (2, 1, 1)
    await mesh.mark("node-a", status=NodeStatus.ACTIVE)
    refused = await stale(mesh, plan)
    assert (refused.shards, refused.namespaces, refused.node_ids) == ((), (), ("node-a",))
    await mesh.mark("node-b", weight=2)
    assert (await stale(mesh, plan)).node_ids == ("node-a", "node-b")


async def test_nodes_that_a_plan_does_not_touch_may_change(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    await mesh.registered("idle", status=NodeStatus.CORDONED)
    plan = (await mesh.plan()).plan
    await mesh.mark("idle", status=NodeStatus.ACTIVE)
    await mesh.apply(plan)


async def test_a_node_that_is_not_registered_is_none_to_rely_on(mesh: PlannedMesh) -> None:
    plan = (await mesh.plan_to_rescue(3)).plan
    node = await mesh.node("node-a")
    assert (await mesh.proposal(plan)).nodes == (PlannedNode("node-a", 1, placement_digest(node)),)
    await mesh.apply(plan)


async def test_what_changes_nothing_of_placement_makes_no_plan_stale(mesh: PlannedMesh) -> None:
    """A policy, and nodes that were drained and undrained, or made heavier and lighter again."""
    await mesh.unbalanced()
    plan = (await mesh.plan()).plan
    await mesh.configure(expected=1, policy=NamespacePolicy(move_budget_percent=100, ticket_required=True))
    for fields in ({"status": NodeStatus.DRAINING}, {"status": NodeStatus.ACTIVE}, {"weight": 2}, {"weight": 1}):
        for node_id in NODES:
            await mesh.mark(node_id, **fields)
    await mesh.apply(plan, change=because("as planned", change_ticket="CHG-1"))


async def test_a_stale_plan_names_the_change_that_matters_and_what_it_changed(mesh: PlannedMesh) -> None:
    """Not the newest one: that changed a policy, or made a node be as it was in that respect."""
    await mesh.unbalanced()
    plan = (await mesh.plan()).plan
    carol = because("other rules", actor="carol")
    ring = await mesh.configure(strategy="ring", expected=1, change=because("try it", actor="alice"))
    await mesh.configure(strategy="ring", expected=2, policy=NamespacePolicy(window_moves=1), change=carol)
    await mesh.mark("node-b", weight=2, change=because("more disks", actor="bob", change_ticket="CHG-2"))
    labelled = await mesh.mark("node-b", labels={"disk": "ssd"}, change=because("faster disks", actor="dave"))
    refused = await stale(mesh, plan)
    assert refused.namespace_conflicts == (
        StalePlanned(BILLING, 1, 3, (FieldChange("strategy", "rendezvous", "ring"),), ring.change),
    )
    assert refused.node_conflicts == (
        StalePlanned(
            "node-b",
            1,
            3,
            (FieldChange("labels", {}, {"disk": "ssd"}), FieldChange("weight", 1, 2)),
            labelled.change,
        ),
    )


async def test_a_plan_of_before_nodes_had_digests_goes_by_their_versions(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    made = await mesh.proposal((await mesh.plan()).plan)
    bare = replace(made, base_revision=0, nodes=tuple(replace(one, placement_digest=None) for one in made.nodes))
    assert "node_digests" not in bare.document
    assert read_proposal(bare.document) == bare
    outcome = await mesh.execute(StorePlan(bare, CHANGE))
    assert isinstance(outcome, PlanProposed)
    await mesh.mark("node-b", status=NodeStatus.DRAINING)
    back = await mesh.mark("node-b", status=NodeStatus.ACTIVE)
    assert (await stale(mesh, outcome.plan)).node_conflicts == (StalePlanned("node-b", 1, 3, (), back.change),)


async def test_a_node_that_was_registered_since_is_one_that_the_plan_did_not_find(mesh: PlannedMesh) -> None:
    plan = (await mesh.plan_to_rescue(3)).plan
    come = await mesh.register("gone")
    assert (await stale(mesh, plan)).node_conflicts == (StalePlanned("gone", 0, 1, (), come.change),)


async def test_everything_that_is_stale_is_told_at_once(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    plan = (await mesh.plan()).plan
    shards = [(await mesh.table())[move.key] for move in (await mesh.proposal(plan)).moves]
    await mesh.update(*(patch(shard, leader_id="x") for shard in shards))
    await mesh.configure(strategy="ring", expected=1)
    for node_id in ("node-b", "node-c"):
        await mesh.mark(node_id, status=NodeStatus.CORDONED)
    refused = await stale(mesh, plan)
    assert [one.key for one in refused.shards] == [shard.key for shard in shards]
    assert (refused.namespaces, refused.node_ids) == ((BILLING,), ("node-b", "node-c"))


async def test_a_plan_whose_leader_to_be_may_not_lead_any_more_is_stale(mesh: PlannedMesh) -> None:
    await mesh.registered("node-a", "node-b")
    await mesh.create(new("s1", "node-a", leader_id="gone", pin=PinRequest("stays")))
    plan = (await mesh.plan()).plan
    await mesh.mark("node-a", status=NodeStatus.DOWN)
    assert (await stale(mesh, plan)).node_ids == ("node-a",)
