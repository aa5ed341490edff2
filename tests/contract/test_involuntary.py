"""Moves off nodes that are down or gone, which budget, windows and freezes do not hold up unless a policy says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from persistence.commands.shards import UpdateShards
from persistence.model.outcomes import PlanApplied, PolicyViolation, StalePlan
from persistence.model.plans import PlanStatus, RebalancePlan
from persistence.model.policy import FreezeWindow, NamespacePolicy, PolicyRule
from persistence.model.records import INVOLUNTARY, MoveReason, NodeStatus, Shard
from tests.support.mesh import CHANGE, new, patch
from tests.support.planned_mesh import PlannedMesh
from tests.support.recount import broken_promises

NOW = datetime.now(UTC)
FROZEN = FreezeWindow(NOW - timedelta(hours=1), NOW + timedelta(hours=9), "quarter end")
TIGHT = NamespacePolicy(move_budget_percent=1, window_moves=1, shard_window_moves=1)


async def under(mesh: PlannedMesh, policy: NamespacePolicy) -> None:
    await mesh.configure(expected=(await mesh.namespace()).version, policy=policy)


async def failing(mesh: PlannedMesh, *, dead: int = 6, misplaced: int = 0) -> RebalancePlan:
    """A plan that vacates `dead` shards of a node that is down, and moves most of those that are misplaced."""
    await mesh.registered("node-a", "node-b", "node-c", "node-d")
    await mesh.create(*(new(f"dead-{number}", "node-d") for number in range(dead)))
    if misplaced:
        await mesh.create(*(new(f"misplaced-{number}", "node-a") for number in range(misplaced)))
    await mesh.mark("node-d", status=NodeStatus.DOWN)
    return (await mesh.plan()).plan


def broken_rules(outcome: object) -> list[PolicyRule]:
    assert isinstance(outcome, PolicyViolation), outcome
    return [broken.rule for broken in outcome.violations]


async def reasons(mesh: PlannedMesh) -> Counter[MoveReason | None]:
    return Counter(row.move_reason for row in await mesh.history() if row.moves)


async def kept_to(mesh: PlannedMesh) -> bool:
    return list(broken_promises(await mesh.changes(), await mesh.history())) == []


@pytest.mark.parametrize("max_moves", [None, 1_000])
async def test_a_node_that_is_down_is_vacated_at_once(mesh: PlannedMesh, max_moves: int | None) -> None:
    plan = await failing(mesh)
    await under(mesh, replace(TIGHT, freezes=(FROZEN,)))
    plan = (await mesh.plan()).plan
    assert (await mesh.apply(plan, max_moves)).plan.status is PlanStatus.APPLIED
    assert await reasons(mesh) == {MoveReason.OWNER_DOWN: 6}
    assert await kept_to(mesh)


async def test_a_policy_may_limit_what_was_not_chosen_as_well(mesh: PlannedMesh) -> None:
    await failing(mesh)
    await under(mesh, replace(TIGHT, involuntary_moves_limited=True, freezes=(FROZEN,)))
    plan = (await mesh.plan()).plan
    assert broken_rules(await mesh.ask_to_apply(plan)) == [
        PolicyRule.FREEZE,
        PolicyRule.MOVE_BUDGET,
        PolicyRule.WINDOW_BUDGET,
    ]
    assert broken_rules(await mesh.ask_to_apply(plan, 1_000)) == [PolicyRule.FREEZE]
    await under(mesh, replace(TIGHT, involuntary_moves_limited=True))
    plan = (await mesh.plan()).plan
    assert (await mesh.apply(plan, 1_000)).plan.moves_made == 1
    assert broken_rules(await mesh.ask_to_apply(plan, 1_000)) == [PolicyRule.WINDOW_BUDGET]
    assert await kept_to(mesh)


async def test_windows_count_what_was_chosen_alone(mesh: PlannedMesh) -> None:
    await failing(mesh)
    await under(mesh, replace(TIGHT, move_budget_percent=100))
    await mesh.apply((await mesh.plan()).plan)
    # Moves by hand are chosen, whatever they are off. Each window has room for one.
    one, two = list((await mesh.table()).values())[:2]
    one = await mesh.updated(one, owner_node_id=_another(one))
    again = [patch(shard, owner_node_id=_another(shard)) for shard in (one, two)]
    assert broken_rules(await mesh.execute(UpdateShards(again[:1], CHANGE))) == [
        PolicyRule.WINDOW_BUDGET,
        PolicyRule.SHARD_THRASH,
    ]
    assert broken_rules(await mesh.execute(UpdateShards(again[1:], CHANGE))) == [PolicyRule.WINDOW_BUDGET]
    # By a policy that limits what was not chosen, all of them count.
    limiting = NamespacePolicy(move_budget_percent=100, window_moves=7, involuntary_moves_limited=True)
    await under(mesh, limiting)
    outcome = await mesh.execute(UpdateShards(again[1:], CHANGE))
    assert isinstance(outcome, PolicyViolation)
    assert outcome.violations[0].actual == "8 moves in 3,600 seconds, 7 of them made already"
    assert await kept_to(mesh)


def _another(shard: Shard) -> str:
    return "node-b" if shard.owner_node_id == "node-a" else "node-a"


@pytest.mark.parametrize(
    ("limits", "rule", "chosen"),
    [
        ({"freezes": (FROZEN,)}, PolicyRule.FREEZE, 0),
        # A wave is within the window: there is one move left of it.
        ({"window_moves": 1}, PolicyRule.WINDOW_BUDGET, 1),
    ],
)
async def test_a_wave_that_is_held_up_makes_the_moves_that_cannot_be(
    mesh: PlannedMesh, limits: dict[str, Any], rule: PolicyRule, chosen: int
) -> None:
    """Of those that come before what is chosen; all at once is one decision."""
    await failing(mesh, misplaced=12)
    policy = NamespacePolicy(move_budget_percent=100, **limits)
    await under(mesh, policy)
    plan = (await mesh.plan()).plan
    assert broken_rules(await mesh.ask_to_apply(plan)) == [rule]
    assert (await mesh.apply(plan, 1_000)).plan.moves_made == 6 + chosen
    assert broken_rules(await mesh.ask_to_apply(plan, 1_000)) == [rule]
    made = await reasons(mesh)
    assert (made[MoveReason.OWNER_DOWN], made.total()) == (6, 6 + chosen)
    assert await kept_to(mesh)


async def test_a_budget_is_about_the_chosen_moves_of_a_wave(mesh: PlannedMesh) -> None:
    await failing(mesh, misplaced=14)
    await under(mesh, NamespacePolicy(move_budget_percent=10))
    plan = (await mesh.plan()).plan
    outcome = await mesh.ask_to_apply(plan)
    chosen = plan.move_count - 6
    assert isinstance(outcome, PolicyViolation)
    assert [broken.actual for broken in outcome.violations] == [f"{chosen} of 20 shards, {100 * chosen / 20:.3g} %"]
    assert (await mesh.apply(plan, 1_000)).plan.moves_made == 8
    assert await reasons(mesh) == {MoveReason.OWNER_DOWN: 6, MoveReason.PLACEMENT_CHANGED: 2}
    assert await kept_to(mesh)


async def test_a_ticket_is_required_all_the_same(mesh: PlannedMesh) -> None:
    await failing(mesh)
    await under(mesh, replace(TIGHT, ticket_required=True))
    plan = (await mesh.plan()).plan
    for max_moves in (None, 1_000):
        assert broken_rules(await mesh.ask_to_apply(plan, max_moves)) == [PolicyRule.TICKET_REQUIRED]


async def test_a_node_that_is_there_again_is_not_vacated_as_if_it_were_gone(mesh: PlannedMesh) -> None:
    plan = (await mesh.plan_to_rescue(3)).plan
    await mesh.registered("gone")
    outcome = await mesh.ask_to_apply(plan)
    assert isinstance(outcome, StalePlan)
    assert outcome.node_ids == ("gone",)


async def test_every_wave_of_any_size_keeps_to_what_is_chosen(mesh: PlannedMesh) -> None:
    await failing(mesh, dead=5, misplaced=20)
    await under(mesh, NamespacePolicy(move_budget_percent=8))
    plan = (await mesh.plan()).plan
    sizes: list[Sequence[MoveReason]] = []
    moves = (await mesh.proposal(plan)).moves
    made = 0
    while plan.status is not PlanStatus.APPLIED:
        outcome = await mesh.ask_to_apply(plan, 4)
        assert isinstance(outcome, PlanApplied)
        plan = outcome.plan
        sizes.append([move.reason for move in moves[made : plan.moves_made]])
        made = plan.moves_made
    assert all(sum(reason not in INVOLUNTARY for reason in wave) <= 2 for wave in sizes)
    assert [len(wave) for wave in sizes][:2] == [4, 3]
    assert await kept_to(mesh)


async def test_a_cordoned_owner_is_made_leader(mesh: PlannedMesh) -> None:
    """It may be given no shard, and leads its own: the plan is not stale for its status, which it had before."""
    await mesh.registered("node-a", "node-b")
    await mesh.create(new("s1", "node-a", leader_id="node-b"))
    await mesh.mark("node-a", status=NodeStatus.CORDONED)
    await mesh.mark("node-b", status=NodeStatus.DOWN)
    await mesh.register("node-c")
    applied = await mesh.apply((await mesh.plan()).plan)
    assert applied.plan.status is PlanStatus.APPLIED
    (shard,) = (await mesh.table()).values()
    assert (shard.owner_node_id, shard.leader_id) == ("node-a", "node-a")
