"""Plans: computed, stored for review, and applied as one change."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from operator import attrgetter
from typing import Final

import pytest

from persistence.commands.plans import ApplyPlan
from persistence.errors import InvalidArgument
from persistence.model.outcomes import IdempotencyKeyReused, NotFound, PlanClosed, StalePlan
from persistence.model.paging import Page, PageRequest
from persistence.model.plans import PlanStatus, RebalancePlan
from persistence.model.policy import NamespacePolicy
from persistence.model.queries import HistoryOrder, PlanFilter, ShardHistoryFilter
from persistence.model.records import ChangeKind, DiffKind, MoveReason, NodeStatus, Rebalance
from persistence.planning.what_if import WhatIf
from persistence.service.rebalancer import PlanRequest
from tests.reference.store import memory_store
from tests.support.mesh import BILLING, CHANGE, COUNTED, SEARCH, because, everything, everything_backwards, new
from tests.support.planned_mesh import PlannedMesh


async def test_a_plan_is_kept_with_its_moves_and_moves_nothing(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    table, position = await mesh.table(), (await mesh.store.stream.head()).position
    change = because("even it out", change_ticket="CHG-1")
    outcome = await mesh.plan(change=change)
    plan, proposal = outcome.plan, await mesh.proposal(outcome.plan)
    assert plan == RebalancePlan(
        proposal.id,
        PlanStatus.PROPOSED,
        12,
        (BILLING,),
        len(proposal.moves),
        12,
        created=outcome.change,
        expires_at=outcome.change.committed_at + timedelta(days=7),
        latest=outcome.change,
    )
    assert 0 < plan.move_count < 12
    assert (outcome.change.kind, outcome.change.namespaces) == (ChangeKind.PLAN_REBALANCE, (BILLING,))
    assert outcome.change.rebalance == Rebalance(plan.id, plan.move_count, 12)
    assert (outcome.change.change_ticket, outcome.change.shard_count, outcome.change.configuration) == (
        "CHG-1",
        0,
        None,
    )
    assert await mesh.store.plans.get(plan.id) == plan
    assert (await mesh.changes())[-1] == outcome.change
    assert (await mesh.table(), (await mesh.store.stream.head()).position) == (table, position)


async def test_what_is_kept_is_what_was_proposed(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    proposed = await mesh.rebalancer.simulate(PlanRequest(), WhatIf())
    outcome = await mesh.plan()
    kept = await mesh.proposal(outcome.plan)
    assert kept == proposed
    assert (kept.id, kept.document) == (outcome.plan.id, getattr(proposed, "document", None))


async def test_equal_meshes_have_equal_plans_whatever_keeps_them(mesh: PlannedMesh) -> None:
    other = PlannedMesh(memory_store())
    await other.configure()
    plans = []
    for one in (mesh, other):
        await one.unbalanced()
        await one.mark("node-b", labels={"b": "1", "a": "2"}, region="eu")
        plans.append((await one.plan()).plan)
    assert plans[0].id == plans[1].id


async def test_a_plan_made_again_of_the_same_mesh_is_the_same_plan(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    first = await mesh.plan()
    before = await mesh.everything_kept()
    assert await mesh.plan(change=because("again", actor="alice")) == replace(first, replayed=True)
    assert await mesh.everything_kept() == before
    await mesh.apply(first.plan)
    assert (await mesh.plan()).plan.id != first.plan.id


async def test_applying_a_plan_makes_its_moves_and_nothing_else(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    await mesh.mark("node-a", status=NodeStatus.DRAINING)
    await mesh.configure(strategy="ring", expected=1)
    before, plan = await mesh.table(), (await mesh.plan()).plan
    proposal = await mesh.proposal(plan)
    outcome = await mesh.apply(plan, change=because("go", change_ticket="CHG-2"))
    assert outcome.plan == replace(plan, status=PlanStatus.APPLIED, latest=outcome.change, moves_made=plan.move_count)
    assert outcome.plan.applied == outcome.change
    assert await mesh.store.plans.get(plan.id) == outcome.plan
    change, table = outcome.change, await mesh.table()
    assert (change.kind, change.namespaces, change.rebalance) == (
        ChangeKind.APPLY_PLAN,
        (BILLING,),
        Rebalance(plan.id, 12, 12),
    )
    assert (change.first_revision, change.last_revision, outcome.position.revision) == (13, 24, 24)
    moves = {move.key: move for move in proposal.moves}
    assert moves.keys() == before.keys()
    for key, shard in table.items():
        assert shard == replace(
            before[key],
            strategy="ring",
            owner_node_id=moves[key].to_node_id,
            change_ticket="CHG-2",
            version=before[key].version + 1,
            owner_epoch=before[key].owner_epoch + 1,
            checksum=shard.checksum,
            revision=shard.revision,
            updated_at=change.committed_at,
        )
    rows = (await mesh.history())[12:]
    assert [(row.key, row.kind, row.move_reason) for row in rows] == [
        (move.key, DiffKind.UPDATED, MoveReason.OWNER_DRAINING) for move in proposal.moves
    ]
    assert {row.changed_fields for row in rows} == {("strategy", "ownerNodeId", "changeTicket")}
    loads = {load.node_id: load.shards_after for load in proposal.loads}
    assert {node.node_id: node.shard_count for node in await mesh.nodes()} == loads
    assert (await mesh.plan()).plan.move_count == 0


async def test_every_way_to_lose_shards_is_told_by_its_reason(mesh: PlannedMesh) -> None:
    await mesh.registered("node-a", "node-b", "node-c", "down", "draining", "ssd", labels={"disk": "ssd"})
    await mesh.register("hdd")
    await mesh.configure(strategy="ring", parameters={"selector": "disk=ssd"}, expected=1)
    for owner in ("gone", "down", "draining", "hdd"):
        await mesh.create(new(owner, owner))
    await mesh.mark("down", status=NodeStatus.DOWN)
    await mesh.mark("draining", status=NodeStatus.DRAINING)
    await mesh.apply((await mesh.plan()).plan)
    reasons = {row.shard_id: row.move_reason for row in await mesh.history() if row.kind is DiffKind.UPDATED}
    assert reasons == {
        "gone": MoveReason.OWNER_REMOVED,
        "down": MoveReason.OWNER_DOWN,
        "draining": MoveReason.OWNER_DRAINING,
        "hdd": MoveReason.OWNER_INELIGIBLE,
    }
    where = ShardHistoryFilter(move_reasons=[MoveReason.OWNER_DOWN, MoveReason.OWNER_REMOVED])
    page = await mesh.store.history.page(where, HistoryOrder.REVISION_ASC, PageRequest(10))
    assert [row.shard_id for row in page.items] == ["gone", "down"]
    assert (await mesh.store.history.page(where, HistoryOrder.REVISION_ASC, COUNTED)).total == 2
    nothing = ShardHistoryFilter(move_reasons=[])
    assert (await mesh.store.history.page(nothing, HistoryOrder.REVISION_ASC, COUNTED)).total == 0


async def test_a_net_difference_has_the_reason_of_its_last_row(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    plan = (await mesh.plan()).plan
    await mesh.apply(plan)
    head = (await mesh.store.stream.head()).revision
    for start, end in ((12, head), (head, 12), (0, head)):
        difference = await mesh.difference(start, end)
        moved = {key: diff.move_reason for key, diff in difference.items() if diff.move_reason is not None}
        assert moved == {move.key: move.reason for move in (await mesh.proposal(plan)).moves}
    edited = (await mesh.table())[next(iter(moved))]
    await mesh.updated(edited, leader_id="x")
    assert (await mesh.difference(12, head + 1))[edited.key].move_reason is None


async def test_what_does_not_fit_into_a_plan_is_left_for_the_next(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    wanted = (await mesh.plan()).plan.move_count
    first = (await mesh.plan(max_moves=2)).plan
    assert (first.move_count, (await mesh.proposal(first)).remaining_moves) == (2, wanted - 2)
    await mesh.apply(first)
    assert (await mesh.plan()).plan.move_count == wanted - 2


async def test_a_plan_may_have_nothing_to_do_and_then_it_cannot_be_applied(mesh: PlannedMesh) -> None:
    """If it could, the same plan made again would be an applied one, answered as if it had been proposed."""
    await mesh.registered("node-a")
    await mesh.filled(3)
    first = await mesh.plan()
    assert first.plan.move_count == 0
    before = await mesh.everything_kept()
    with pytest.raises(InvalidArgument, match="planId: has no moves: there is nothing to apply"):
        await mesh.ask_to_apply(first.plan)
    assert await mesh.everything_kept() == before
    assert await mesh.plan() == replace(first, replayed=True)


async def test_a_mesh_without_namespaces_has_a_plan_of_nothing(mesh: PlannedMesh) -> None:
    empty = PlannedMesh(memory_store())
    assert (await empty.plan()).plan.namespaces == ()
    outcome = await mesh.rebalancer.plan(PlanRequest(["nowhere", BILLING, "elsewhere"]), CHANGE)
    assert outcome == NotFound(namespaces=("elsewhere", "nowhere"))


async def test_a_plan_of_some_namespaces_leaves_the_others_alone(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    await mesh.configure(SEARCH)
    await mesh.filled(5, "gone", SEARCH)
    plan = (await mesh.plan(SEARCH)).plan
    assert (plan.namespaces, plan.move_count, plan.shard_count, plan.base_revision) == ((SEARCH,), 5, 5, 17)
    await mesh.apply(plan)
    assert {shard.owner_node_id for shard in (await mesh.table()).values() if shard.namespace == BILLING} == {"node-a"}


async def test_a_plan_is_applied_once(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    plan = (await mesh.plan()).plan
    applied = await mesh.apply(plan)
    before = await mesh.everything_kept()
    assert await mesh.ask_to_apply(plan) == PlanClosed(applied.plan)
    assert await mesh.everything_kept() == before


async def test_a_plan_that_is_not_there_is_not_found(mesh: PlannedMesh) -> None:
    unknown = "0" * 32
    assert await mesh.execute(ApplyPlan(unknown, CHANGE)) == NotFound(plans=(unknown,))
    assert (await mesh.store.plans.get(unknown), await mesh.store.plans.proposal(unknown)) == (None, None)
    for wrong in ("", "0" * 31, "0" * 33, "X" * 32, "F" * 32):
        with pytest.raises(InvalidArgument) as caught:
            await mesh.execute(ApplyPlan(wrong, CHANGE))
        assert [error.field for error in caught.value.errors] == ["planId"]


async def test_a_node_that_leads_is_vacated_and_can_be_removed(mesh: PlannedMesh) -> None:
    """The owner that leads leads wherever it moves; shards that stay are led by their owners, within any budget."""
    await mesh.configure(expected=1, policy=NamespacePolicy(move_budget_percent=1))
    await mesh.registered("node-a", "node-b")
    owned = (await mesh.create(*(new(f"owned-{n}", "node-b", leader_id="node-b") for n in range(2)))).shards
    led = (await mesh.create(*(new(f"led-{n}", "node-a", leader_id="node-b") for n in range(20)))).shards
    await mesh.mark("node-b", status=NodeStatus.DRAINING)
    plan = (await mesh.plan()).plan
    reasons = Counter(move.reason for move in (await mesh.proposal(plan)).moves)
    assert reasons == {MoveReason.OWNER_DRAINING: len(owned), MoveReason.LEADER_DRAINING: len(led)}
    waves = [await mesh.apply(plan, max_moves=100), await mesh.apply(plan, max_moves=100)]
    assert waves[-1].plan.status is PlanStatus.APPLIED
    table = await mesh.table()
    assert {(shard.owner_node_id, shard.leader_id) for shard in table.values()} == {("node-a", "node-a")}
    assert {shard.owner_epoch for shard in table.values() if shard.shard_id.startswith("led")} == {1}
    rows = {row.shard_id: row for row in await mesh.history() if row.kind is DiffKind.UPDATED}
    assert {rows[shard.shard_id].move_reason for shard in owned} == {MoveReason.OWNER_DRAINING}
    assert {rows[shard.shard_id].move_reason for shard in led} == {MoveReason.LEADER_DRAINING}
    assert {rows[shard.shard_id].changed_fields for shard in led} == {("leaderId",)}
    assert (await mesh.mark("node-b", status=NodeStatus.REMOVED)).node.status is NodeStatus.REMOVED
    back = await mesh.proposal((await mesh.roll_back(change_id=waves[-1].change.id)).plan)
    assert back.moves == ()


async def test_plans_are_listed_newest_first_in_both_directions(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    await mesh.configure(SEARCH)
    await mesh.filled(6, "node-c", SEARCH)
    made = [await mesh.plan(max_moves=moves) for moves in (1, 2, 3)]
    made += [await mesh.plan(SEARCH), await mesh.plan(BILLING)]
    applied = (await mesh.apply(made[3].plan)).plan
    # Of the namespace that it is applied in, and older.
    older = [replace(outcome.plan, status=PlanStatus.SUPERSEDED, latest=applied.latest) for outcome in made[:3]]
    plans = [made[4].plan, applied, *reversed(older)]
    filters = {
        PlanFilter(): plans,
        PlanFilter(namespace=SEARCH): [plan for plan in plans if SEARCH in plan.namespaces],
        PlanFilter(namespace="nowhere"): [],
        PlanFilter(statuses=(PlanStatus.APPLIED,)): [applied],
        PlanFilter(statuses=()): [],
        PlanFilter(namespace=BILLING, statuses=tuple(PlanStatus)): [one for one in plans if BILLING in one.namespaces],
    }
    for where, expected in filters.items():

        async def fetch(request: PageRequest[int], where: PlanFilter = where) -> Page[RebalancePlan]:
            return await mesh.store.plans.page(where, request)

        for size in (1, 2, 500):
            assert await everything(fetch, attrgetter("created.id"), size=size) == expected
            assert await everything_backwards(fetch, attrgetter("created.id"), size=size) == expected
        assert (await mesh.store.plans.page(where, COUNTED)).total == len(expected)


KEYED: Final = because("once", idempotency_key="key-1")


async def test_a_plan_asked_for_twice_is_one_plan_and_one_answer(mesh: PlannedMesh) -> None:
    """Also when the mesh has moved on: the request is the same, the plan would not be."""
    await mesh.unbalanced()
    first = await mesh.plan(change=KEYED)
    applied = await mesh.apply(first.plan)
    await mesh.created("another")
    assert await mesh.plan(change=KEYED) == replace(first, plan=applied.plan, replayed=True)
    other = await mesh.rebalancer.plan(PlanRequest(max_moves=3), KEYED)
    assert other == IdempotencyKeyReused("key-1", first.change)


async def test_a_key_is_kept_also_for_a_plan_that_was_known(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    first = await mesh.plan()
    keyed = await mesh.plan(change=KEYED)
    assert (keyed.plan, keyed.replayed) == (first.plan, False)
    assert keyed.change == (await mesh.changes())[-1] != first.change
    assert (keyed.change.kind, keyed.change.namespaces, keyed.change.rebalance) == (
        ChangeKind.PLAN_REBALANCE,
        (BILLING,),
        first.change.rebalance,
    )
    assert await mesh.plans() == [first.plan]
    applied = await mesh.apply(first.plan)
    await mesh.created("another")
    before = await mesh.everything_kept()
    assert await mesh.plan(change=KEYED) == replace(keyed, plan=applied.plan, replayed=True)
    other = await mesh.rebalancer.plan(PlanRequest(max_moves=3), KEYED)
    assert other == IdempotencyKeyReused("key-1", keyed.change)
    assert await mesh.everything_kept() == before


async def test_a_plan_applied_twice_with_one_key_is_one_change_and_one_answer(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    plan = (await mesh.plan()).plan
    change = replace(KEYED, idempotency_key="key-0")
    first = await mesh.apply(plan, change=change)
    await mesh.configure("unrelated")
    assert await mesh.apply(plan, change=change) == replace(first, replayed=True)
    last = await mesh.created("another")
    assert await mesh.ask_to_apply(plan, change=change) == replace(first, replayed=True)
    assert last.revision > first.position.revision


async def test_a_plan_that_was_refused_keeps_no_key(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    plan = (await mesh.plan()).plan
    await mesh.mark("node-b", status=NodeStatus.CORDONED)
    assert isinstance(await mesh.ask_to_apply(plan, change=KEYED), StalePlan)
    again = (await mesh.plan()).plan
    assert not (await mesh.apply(again, change=KEYED)).replayed


async def test_a_large_plan_is_one_change(mesh: PlannedMesh) -> None:
    await mesh.registered(*(f"node-{number}" for number in range(7)))
    await mesh.filled(2_000, "gone")
    outcome = await mesh.apply((await mesh.plan()).plan)
    assert outcome.change.shard_count == 2_000
    owned = Counter(shard.owner_node_id for shard in (await mesh.table()).values())
    assert owned == {node.node_id: node.shard_count for node in await mesh.nodes()}


def test_a_plan_says_how_much_it_moves() -> None:
    assert Rebalance("0" * 32, 3, 12).diff_percent == 25.0
    assert Rebalance("0" * 32, 0, 0).diff_percent == 0.0
