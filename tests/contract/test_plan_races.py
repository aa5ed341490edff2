"""Plans that are made, applied and approved while others change what they rely on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import pytest

from persistence.commands.command import Command
from persistence.commands.nodes import UpdateNode
from persistence.commands.plans import ApplyPlan, ApprovePlan, RejectPlan, StorePlan
from persistence.commands.shards import UpdateShards
from persistence.commands.write_set import WriteSet
from persistence.errors import TransientConflict
from persistence.handlers.dispatch import decide
from persistence.handlers.plans import reads_of
from persistence.model.outcomes import (
    Committed,
    NodeInUse,
    PlanApplied,
    PlanClosed,
    PlanProposed,
    ShardsChanged,
    StalePlan,
    VersionConflict,
)
from persistence.model.plans import PlanStatus
from persistence.model.records import NodeStatus
from persistence.planning.proposal import Proposal
from persistence.planning.what_if import WhatIf
from persistence.service.rebalancer import PlanRequest
from strategies.registry import Registry
from tests.support.mesh import CHANGE, because, new, patch
from tests.support.planned_mesh import PlannedMesh

# Once more when connections are open and statements prepared: only then do writers really meet.
ROUNDS: Final = range(3)


async def test_of_many_who_make_the_same_plan_one_keeps_it(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    for number in ROUNDS:
        outcomes = await asyncio.gather(*(mesh.plan() for _ in range(6)))
        (made,) = (outcome for outcome in outcomes if not outcome.replayed)
        assert [outcome for outcome in outcomes if outcome.replayed] == [replace(made, replayed=True)] * 5
        assert len(await mesh.plans()) == number + 1
        await mesh.create(new(f"more-{number}"))


async def test_of_many_who_apply_one_plan_one_does(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    for number in ROUNDS:
        plan = (await mesh.plan()).plan
        outcomes = await asyncio.gather(*(mesh.ask_to_apply(plan) for _ in range(8)))
        (winner,) = (outcome for outcome in outcomes if isinstance(outcome, PlanApplied))
        assert [outcome for outcome in outcomes if outcome is not winner] == [PlanClosed(winner.plan)] * 7
        rows = [row for row in await mesh.history() if row.change == winner.change]
        assert len(rows) == plan.move_count > 0
        await mesh.create(*(new(f"more-{number}-{shard}") for shard in range(6)))


async def test_of_plans_that_move_the_same_shards_one_is_applied(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    plans = [(await mesh.plan(max_moves=moves)).plan for moves in (1, 2, 3, 4)]
    outcomes = await asyncio.gather(*map(mesh.ask_to_apply, plans))
    (winner,) = (outcome for outcome in outcomes if isinstance(outcome, PlanApplied))
    for outcome in outcomes:
        if outcome is not winner:
            if isinstance(outcome, PlanClosed):
                # An older one: a decision for a plan is one against those.
                assert (outcome.plan.status, outcome.plan.latest) == (PlanStatus.SUPERSEDED, winner.change)
                continue
            assert isinstance(outcome, StalePlan)
            assert {stale.last_change for stale in outcome.shards} == {winner.change}


async def test_a_plan_meets_an_edit_before_or_after_it(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    for number in ROUNDS:
        plan = (await mesh.plan()).plan
        key = (await mesh.proposal(plan)).moves[0].key
        edit = UpdateShards([patch((await mesh.table())[key], leader_id=f"leader-{number}")], CHANGE)
        applied, edited = await asyncio.gather(mesh.ask_to_apply(plan), mesh.execute(edit))
        if isinstance(applied, PlanApplied):
            assert isinstance(edited, VersionConflict)
            assert [one.last_change for one in edited.stale] == [applied.change]
        else:
            assert isinstance(applied, StalePlan)
            assert isinstance(edited, ShardsChanged)
            assert [one.last_change for one in applied.shards] == [edited.change]
        await mesh.create(*(new(f"more-{number}-{more}") for more in range(6)))


async def too_late(mesh: PlannedMesh, command: ApplyPlan | ApprovePlan, meanwhile: Command) -> None:
    """Decides on a plan, lets something else be executed, and expects that the decision is not committed any more."""

    async def commit() -> None:
        async with mesh.store.unit_of_work() as unit:
            held = (await unit.read(command.reads)).plan
            assert held is not None
            state = replace(await unit.read(reads_of(command, held)), plan=held)
            decision = decide(command, state, Registry())
            assert isinstance(decision, WriteSet)
            assert isinstance(await asyncio.wait_for(mesh.execute(meanwhile), timeout=20), Committed)
            await unit.commit(decision)

    with pytest.raises(TransientConflict, match="was decided on changed before it was committed"):
        await commit()


async def test_a_node_that_was_changed_since_the_plan_was_read_is_not_given_shards(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    plan = (await mesh.plan()).plan
    await too_late(mesh, ApplyPlan(plan.id, CHANGE), UpdateNode("node-b", 1, CHANGE, status=NodeStatus.DOWN))
    assert isinstance(await mesh.ask_to_apply(plan), StalePlan)


async def test_a_shard_that_was_changed_since_the_plan_was_read_is_not_moved(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    plan = (await mesh.plan()).plan
    shard = (await mesh.table())[(await mesh.proposal(plan)).moves[0].key]
    await too_late(mesh, ApplyPlan(plan.id, CHANGE), UpdateShards([patch(shard, leader_id="x")], CHANGE))


async def test_a_plan_is_not_approved_as_what_it_relied_on_changes(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    plan = (await mesh.plan()).plan
    shard = (await mesh.table())[(await mesh.proposal(plan)).moves[-1].key]
    await too_late(mesh, ApprovePlan(plan.id, CHANGE), UpdateShards([patch(shard, leader_id="x")], CHANGE))
    assert (await mesh.store.plans.get(plan.id)) == plan


async def test_a_plan_that_was_rejected_since_it_was_read_is_not_applied(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    plan = (await mesh.plan()).plan
    await too_late(mesh, ApplyPlan(plan.id, CHANGE), RejectPlan(plan.id, CHANGE))


async def test_a_plan_that_was_kept_since_it_was_absent_is_not_kept_twice(mesh: PlannedMesh) -> None:
    await mesh.unbalanced()
    proposal = await mesh.rebalancer.simulate(PlanRequest(), WhatIf())
    assert isinstance(proposal, Proposal)
    command = StorePlan(proposal, because("once", idempotency_key="key"))

    async def commit() -> None:
        async with mesh.store.unit_of_work() as unit:
            decision = decide(command, await unit.read(command.reads), Registry())
            assert isinstance(decision, WriteSet)
            assert isinstance(await mesh.execute(command), PlanProposed)
            await unit.commit(decision)

    with pytest.raises(TransientConflict, match="was decided on changed before it was committed"):
        await commit()
    answered = await mesh.execute(command)
    assert isinstance(answered, PlanProposed)
    assert answered.replayed


@pytest.mark.parametrize("given", [{"owner": "node-z"}, {"leader_id": "node-z"}], ids=["shard", "lead"])
async def test_a_node_is_not_removed_as_it_is_given_a_shard(mesh: PlannedMesh, given: dict[str, str]) -> None:
    await mesh.unbalanced()
    await mesh.registered("node-z")
    removal = UpdateNode("node-z", 1, CHANGE, status=NodeStatus.REMOVED)

    async def commit() -> None:
        async with mesh.store.unit_of_work() as unit:
            decision = decide(removal, await unit.read(removal.reads), Registry())
            assert isinstance(decision, WriteSet)
            await mesh.create(new("late", **given))
            await unit.commit(decision)

    with pytest.raises(TransientConflict, match="node's shards"):
        await commit()
    assert await mesh.execute(removal) == NodeInUse(await mesh.node("node-z"))
