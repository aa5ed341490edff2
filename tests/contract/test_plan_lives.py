"""What becomes of a plan: approved, rejected, superseded, expired, applied in waves, stopped and resumed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from persistence.commands.command import ChangeRequest
from persistence.commands.plans import ApplyPlan, ApprovePlan, RejectPlan, StopPlan
from persistence.errors import InvalidArgument
from persistence.model.outcomes import (
    FieldChange,
    IdempotencyKeyReused,
    NotFound,
    PlanApplied,
    PlanChanged,
    PlanClosed,
    PlanProposed,
    PolicyViolation,
    StalePlan,
    StalePlanned,
)
from persistence.model.paging import PageRequest
from persistence.model.plans import PlanKind, PlanStatus, RebalancePlan
from persistence.model.policy import NamespacePolicy, PolicyRule
from persistence.model.queries import ChangeFilter, PlanFilter
from persistence.model.records import Change, ChangeKind, NodeStatus, Rebalance
from persistence.planning import lifecycle
from tests.contract.conftest import Backend
from tests.support.mesh import ANY_MOVES, CHANGE, COUNTED, SEARCH, because, new
from tests.support.planned_mesh import PlannedMesh

BOB = because("looks right", actor="bob")


async def rescue(mesh: PlannedMesh, count: int = 20) -> RebalancePlan:
    return (await mesh.plan_to_rescue(count)).plan


async def changes_of(mesh: PlannedMesh, plan: RebalancePlan) -> Sequence[Change]:
    where = ChangeFilter(plan_id=plan.id)
    page = await mesh.store.changes.page(where, PageRequest(500), newest_first=False)
    assert (await mesh.store.changes.page(where, COUNTED, newest_first=True)).total == len(page.items)
    return page.items


async def test_an_approval_is_a_change_and_stays_with_the_plan(mesh: PlannedMesh) -> None:
    plan = await rescue(mesh)
    approved = await mesh.approve(plan, change=BOB)
    change = (await mesh.changes())[-1]
    assert (change.kind, change.actor, change.rebalance) == (ChangeKind.APPROVE_PLAN, "bob", Rebalance(plan.id, 0, 20))
    assert approved == replace(plan, status=PlanStatus.APPROVED, approved=change, latest=change)
    assert await mesh.kept_plan(plan) == approved
    applied = await mesh.apply(plan)
    assert (applied.plan.approved, applied.plan.applied) == (change, applied.change)
    assert [one.kind for one in await changes_of(mesh, plan)] == [
        ChangeKind.PLAN_REBALANCE,
        ChangeKind.APPROVE_PLAN,
        ChangeKind.APPLY_PLAN,
    ]


async def test_what_a_plan_is_closed_for_writes_nothing(mesh: PlannedMesh) -> None:
    plan = await rescue(mesh)
    approved = await mesh.approve(plan)
    before = await mesh.everything_kept()
    assert await mesh.execute(ApprovePlan(plan.id, BOB)) == PlanClosed(approved)
    assert await mesh.execute(StopPlan(plan.id, BOB)) == PlanClosed(approved)
    assert await mesh.everything_kept() == before
    rejected = await mesh.reject(plan, change=BOB)
    assert rejected == replace(approved, status=PlanStatus.REJECTED, latest=rejected.latest)
    assert (rejected.latest.kind, rejected.latest.actor) == (ChangeKind.REJECT_PLAN, "bob")
    before = await mesh.everything_kept()
    for command in (ApprovePlan, RejectPlan, StopPlan, ApplyPlan):
        assert await mesh.execute(command(plan.id, CHANGE)) == PlanClosed(rejected)
        assert await mesh.execute(command("0" * 32, CHANGE)) == NotFound(plans=("0" * 32,))
    assert await mesh.everything_kept() == before


async def test_a_plan_that_was_rejected_can_be_proposed_again(mesh: PlannedMesh) -> None:
    """The same mesh gives the same plan: it must not be barred for good."""
    plan = await rescue(mesh)
    await mesh.approve(plan)
    await mesh.reject(plan)
    again = await mesh.plan(change=because("I insist", actor="alice"))
    assert (again.replayed, again.plan.id) == (False, plan.id)
    assert again.plan == replace(
        plan,
        created=again.change,
        latest=again.change,
        expires_at=again.change.committed_at + timedelta(days=7),
    )
    assert await mesh.plans() == [again.plan]
    await mesh.apply(again.plan)


async def test_a_stale_plan_is_not_approved(mesh: PlannedMesh) -> None:
    plan = await rescue(mesh)
    cordoned = await mesh.mark("node-a", status=NodeStatus.CORDONED)
    before = await mesh.everything_kept()
    outcome = await mesh.execute(ApprovePlan(plan.id, BOB))
    status = FieldChange("status", "ACTIVE", "CORDONED")
    assert outcome == StalePlan(plan, (), (), (StalePlanned("node-a", 1, 2, (status,), cordoned.change),))
    assert await mesh.everything_kept() == before
    await mesh.reject(plan)


async def test_a_plan_expires_unless_it_was_begun(mesh: PlannedMesh, backend: Backend) -> None:
    plan = await rescue(mesh)
    assert plan.expires_at == plan.created.committed_at + timedelta(days=7)
    await mesh.approve(plan)
    await backend.expire(plan.id)
    expired = await mesh.kept_plan(plan)
    assert expired.status is PlanStatus.EXPIRED
    assert await mesh.plans(PlanFilter(statuses=[PlanStatus.EXPIRED])) == [expired]
    still_open = PlanFilter(statuses=[PlanStatus.APPROVED, PlanStatus.PROPOSED])
    assert (await mesh.store.plans.page(still_open, COUNTED)).total == 0
    for command in (ApprovePlan, RejectPlan, ApplyPlan):
        assert await mesh.execute(command(plan.id, CHANGE)) == PlanClosed(expired)
    again = (await mesh.plan()).plan
    assert (again.status, again.approved) == (PlanStatus.PROPOSED, None)
    await mesh.apply(again, 1)
    await backend.expire(plan.id)
    assert (await mesh.kept_plan(plan)).status is PlanStatus.APPLYING
    assert (await mesh.apply(again, 1)).plan.moves_made == 2


async def test_a_decision_for_a_plan_is_one_against_older_ones(mesh: PlannedMesh, backend: Backend) -> None:
    plan = await rescue(mesh)
    await mesh.configure(SEARCH)
    await mesh.filled(3, "gone", SEARCH)
    first, elsewhere = (await mesh.plan(max_moves=1)).plan, (await mesh.plan(SEARCH)).plan
    expired, second, newest = [(await mesh.plan("billing", max_moves=count)).plan for count in (2, 3, 4)]
    await backend.expire(expired.id)
    approved = await mesh.approve(second)
    assert approved.latest.rebalance == Rebalance(second.id, 0, 20, (first.id, plan.id))
    statuses = {one.id: (one.status, one.latest) for one in await mesh.plans()}
    for older in (first, plan):
        assert statuses[older.id] == (PlanStatus.SUPERSEDED, approved.latest)
        assert isinstance(await mesh.ask_to_apply(older), PlanClosed)
    assert [statuses[one.id][0] for one in (elsewhere, expired, newest)] == [
        PlanStatus.PROPOSED,
        PlanStatus.EXPIRED,
        PlanStatus.PROPOSED,
    ]
    begun = await mesh.apply(newest, 1)
    assert begun.change.rebalance == Rebalance(newest.id, 1, 20, (second.id,))
    assert (await mesh.kept_plan(second)).status is PlanStatus.SUPERSEDED


async def test_a_plan_without_moves_is_closed_from_the_beginning(mesh: PlannedMesh, backend: Backend) -> None:
    await mesh.registered("node-a")
    await mesh.filled(3)
    made = (await mesh.plan()).plan
    assert (made.status, made.move_count) == (PlanStatus.NOTHING_TO_DO, 0)
    assert await mesh.kept_plan(made) == made
    assert await mesh.plans(PlanFilter(statuses=lifecycle.OPEN)) == []
    assert await mesh.plans(PlanFilter(statuses=[PlanStatus.NOTHING_TO_DO])) == [made]
    before = await mesh.everything_kept()
    for command in (ApprovePlan, RejectPlan, StopPlan, ApplyPlan):
        with pytest.raises(InvalidArgument, match="planId: has no moves"):
            await mesh.execute(command(made.id, BOB))
    assert await mesh.everything_kept() == before
    await mesh.registered("node-b")
    balancing = (await mesh.plan()).plan
    assert balancing.move_count
    assert (await mesh.approve(balancing)).latest.rebalance == Rebalance(balancing.id, 0, 3)  # it supersedes none
    await backend.expire(made.id)
    assert (await mesh.kept_plan(made)).status is PlanStatus.NOTHING_TO_DO


async def test_who_decides_for_two_plans_at_once_ends_with_one(mesh: PlannedMesh) -> None:
    await rescue(mesh)
    for _ in range(3):
        plans = [(await mesh.plan(max_moves=moves)).plan for moves in (1, 2, 3, 4)]
        await asyncio.gather(*(mesh.execute(ApprovePlan(plan.id, CHANGE)) for plan in plans))
        statuses = [(await mesh.kept_plan(plan)).status for plan in plans]
        assert statuses == [PlanStatus.SUPERSEDED] * 3 + [PlanStatus.APPROVED]
        await mesh.apply(plans[3], 1)


async def test_a_plan_is_applied_wave_by_wave(mesh: PlannedMesh) -> None:
    plan = await rescue(mesh)
    moves = (await mesh.proposal(plan)).moves
    made: list[str] = []
    for number in range(1, 11):
        outcome = await mesh.apply(plan, 2, change=because(f"wave {number}", change_ticket=f"CHG-{number}"))
        done = outcome.plan.status is PlanStatus.APPLIED
        assert (outcome.plan.moves_made, done) == (2 * number, number == 10)
        assert (outcome.plan.applied == outcome.change) == done
        assert outcome.change.rebalance == Rebalance(plan.id, 2, 20)
        rows = [row for row in await mesh.history() if row.change == outcome.change]
        made += [row.shard_id for row in rows]
    assert made == [move.shard_id for move in moves]
    assert isinstance(await mesh.ask_to_apply(plan, 1), PlanClosed)
    assert {shard.version for shard in (await mesh.table()).values()} == {2}
    waves = [change for change in await changes_of(mesh, plan) if change.kind is ChangeKind.APPLY_PLAN]
    assert [wave.change_ticket for wave in waves] == [f"CHG-{number}" for number in range(1, 11)]


async def test_what_is_left_of_a_plan_can_be_made_in_one_go(mesh: PlannedMesh) -> None:
    plan = await rescue(mesh)
    await mesh.apply(plan, 1)
    outcome = await mesh.apply(plan)
    assert (outcome.change.shard_count, outcome.plan.status) == (19, PlanStatus.APPLIED)


async def test_a_wave_is_refused_by_what_concerns_its_own_moves(mesh: PlannedMesh) -> None:
    plan = await rescue(mesh)
    moves = (await mesh.proposal(plan)).moves
    last = (await mesh.table())[moves[-1].key]
    await mesh.updated(last, leader_id="x")
    assert isinstance(await mesh.ask_to_apply(plan), StalePlan)
    for made in range(2, 20, 2):
        assert (await mesh.apply(plan, 2)).plan.moves_made == made
    outcome = await mesh.ask_to_apply(plan, 2)
    assert isinstance(outcome, StalePlan)
    assert [stale.key for stale in outcome.shards] == [last.key]
    assert (outcome.plan.moves_made, outcome.plan.status) == (18, PlanStatus.APPLYING)
    assert (await mesh.apply(plan, 1)).plan.moves_made == 19
    rejected = await mesh.reject(plan)
    assert (rejected.status, rejected.moves_made) == (PlanStatus.REJECTED, 19)


async def test_a_plan_that_was_stopped_goes_on_when_it_is_resumed(mesh: PlannedMesh) -> None:
    """The client that makes its waves in a row has not seen that: its next wave does not overrule the stop."""
    plan = await rescue(mesh)
    running = (await mesh.apply(plan, 1, resume=True)).plan
    stopped = await mesh.stop(plan, change=BOB)
    assert stopped == replace(running, status=PlanStatus.STOPPED, latest=stopped.latest)
    assert (stopped.latest.kind, stopped.latest.actor) == (ChangeKind.STOP_PLAN, "bob")
    for command in (ApplyPlan(plan.id, CHANGE, 1), StopPlan(plan.id, CHANGE), ApprovePlan(plan.id, CHANGE)):
        assert await mesh.execute(command) == PlanClosed(stopped)
    resumed = await mesh.apply(plan, 1, resume=True)
    assert (resumed.plan.status, resumed.plan.moves_made) == (PlanStatus.APPLYING, 2)
    assert (await mesh.apply(plan, resume=True)).plan.status is PlanStatus.APPLIED


async def test_of_waves_at_once_each_makes_its_own_moves(mesh: PlannedMesh) -> None:
    plan = await rescue(mesh)
    outcomes = await asyncio.gather(*(mesh.ask_to_apply(plan, 2) for _ in range(12)))
    made = [outcome for outcome in outcomes if isinstance(outcome, PlanApplied)]
    assert sorted(outcome.plan.moves_made for outcome in made) == list(range(2, 21, 2))
    assert [type(outcome) for outcome in outcomes if outcome not in made] == [PlanClosed] * 2
    assert {shard.version for shard in (await mesh.table()).values()} == {2}


async def test_a_decision_asked_for_twice_with_one_key_is_one_change(mesh: PlannedMesh) -> None:
    plan = await rescue(mesh)
    for number, command in enumerate((ApprovePlan, ApplyPlan, StopPlan, RejectPlan)):
        change = because("once", idempotency_key=f"key-{number}")
        asked = ApplyPlan(plan.id, change, 1) if command is ApplyPlan else command(plan.id, change)
        first = await mesh.execute(asked)
        assert isinstance(first, PlanChanged | PlanApplied)
        before = await mesh.everything_kept()
        assert await mesh.execute(asked) == replace(first, replayed=True)
        other = await mesh.execute(ApplyPlan(plan.id, change, 5))
        assert other == IdempotencyKeyReused(f"key-{number}", first.change)
        assert await mesh.everything_kept() == before


async def test_plans_are_told_apart_by_what_they_are_for(mesh: PlannedMesh) -> None:
    plan = await rescue(mesh)
    applied = await mesh.apply(plan, 2)
    back = (await mesh.roll_back(change_id=applied.change.id)).plan
    assert back.kind is PlanKind.ROLLBACK
    assert await mesh.plans(PlanFilter(kinds=[PlanKind.ROLLBACK])) == [back]
    assert (await mesh.store.plans.page(PlanFilter(kinds=[PlanKind.REBALANCE]), COUNTED)).total == 1


@pytest.mark.parametrize("max_moves", [0, 10_001])
async def test_a_wave_has_a_size(mesh: PlannedMesh, max_moves: int) -> None:
    plan = await rescue(mesh)
    with pytest.raises(InvalidArgument, match="maxMoves: must be between 1 and 10,000"):
        await mesh.ask_to_apply(plan, max_moves)


def rules(outcome: object) -> list[tuple[PolicyRule, str]]:
    """The rules that a refusal names, and of which namespace."""
    assert isinstance(outcome, PolicyViolation), outcome
    return [(broken.rule, broken.namespace) for broken in outcome.violations]


async def test_where_a_policy_requires_it_another_actor_approves(mesh: PlannedMesh) -> None:
    asking = replace(ANY_MOVES, approval_required=True)
    await mesh.configure(SEARCH, policy=asking)
    await rescue(mesh)
    await mesh.filled(2, "gone", SEARCH)
    plan = (await mesh.plan()).plan
    before = await mesh.everything_kept()
    forced = replace(CHANGE, forced="it burns")
    for change in (CHANGE, forced):
        assert rules(await mesh.ask_to_apply(plan, change=change)) == [(PolicyRule.APPROVAL_REQUIRED, SEARCH)]
        assert rules(await mesh.execute(ApprovePlan(plan.id, change))) == [(PolicyRule.SELF_APPROVAL, SEARCH)]
    assert await mesh.everything_kept() == before
    await mesh.approve(plan, change=BOB)
    await mesh.apply(plan, 1)
    await mesh.apply(plan)


async def test_waves_keep_within_the_budget_that_one_change_would_break(mesh: PlannedMesh) -> None:
    """Of twenty shards three are fifteen percent; the rules about one change hold for each wave."""
    policy = NamespacePolicy(move_budget_percent=11, ticket_required=True, involuntary_moves_limited=True)
    await mesh.configure(expected=1, policy=policy)
    ticket = replace(CHANGE, change_ticket="CHG-1")
    plan = (await rescue_with(mesh, ticket)).plan
    assert rules(await mesh.ask_to_apply(plan, change=ticket)) == [(PolicyRule.MOVE_BUDGET, "billing")]
    assert (PolicyRule.TICKET_REQUIRED, "billing") in rules(await mesh.ask_to_apply(plan, 10))
    assert [(await mesh.apply(plan, 10, change=ticket)).plan.moves_made for _ in range(2)] == [3, 6]
    assert (await mesh.apply(plan, 2, change=ticket)).plan.moves_made == 8
    forced = replace(ticket, forced="it burns")
    assert (await mesh.apply(plan, change=forced)).plan.status is PlanStatus.APPLIED


async def rescue_with(mesh: PlannedMesh, change: ChangeRequest) -> PlanProposed:
    """As `rescue`, where a policy requires more than the others do."""
    await mesh.registered("node-a")
    await mesh.create(*(new(f"s{number:04}", "gone") for number in range(20)), change=change)
    return await mesh.plan(change=change)
