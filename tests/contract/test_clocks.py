"""The database's clock was an hour ahead when a change was made, and was set back: what still holds.

From then on changes are committed at that hour until the clock has got there. docs/operations/clocks.md.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from persistence.commands.shards import PinRequest, UpdateShards
from persistence.model.outcomes import Outcome, PolicyViolation
from persistence.model.plans import PlanStatus
from persistence.model.policy import FreezeWindow, NamespacePolicy, PolicyRule
from persistence.model.records import AsOf, Shard
from tests.contract.conftest import Backend
from tests.support.mesh import CHANGE, Mesh, because, new, patch
from tests.support.planned_mesh import PlannedMesh

HOUR = timedelta(hours=1)


def minutes(count: float) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=count)


async def under(mesh: Mesh, **policy: Any) -> None:
    given = NamespacePolicy(**{"move_budget_percent": 100, **policy})
    await mesh.configure(expected=(await mesh.namespace()).version, policy=given)


async def move(mesh: Mesh, shard: Shard, owner: str) -> Outcome:
    return await mesh.execute(UpdateShards([patch(shard, owner_node_id=owner)], CHANGE))


def rules(outcome: Outcome) -> list[PolicyRule]:
    return [broken.rule for broken in outcome.violations] if isinstance(outcome, PolicyViolation) else []


async def test_no_change_is_committed_before_an_earlier_one(backend: Backend, mesh: PlannedMesh) -> None:
    shard = await mesh.created("a")
    await backend.run_ahead(HOUR)
    for number in range(3):
        shard = await mesh.updated(shard, owner_node_id=f"node-{number}")
    times = [change.committed_at for change in await mesh.changes()]
    assert times == sorted(times)
    assert len(set(times[-3:])) == 1
    assert minutes(55) < times[-1] < minutes(61)
    assert shard.updated_at == times[-1]


async def test_a_jump_back_without_a_change_meanwhile_leaves_nothing(backend: Backend, mesh: PlannedMesh) -> None:
    await backend.run_ahead(-HOUR)
    await mesh.created("a")
    assert (await mesh.changes())[-1].committed_at < minutes(1)


@pytest.mark.parametrize(
    ("begins", "ends", "frozen"),
    [
        (-10, 30, True),  # by the clock; the store's time has left it behind
        (-10, 90, True),
        (50, 90, True),  # by the store's time: it is where the change would stand in history
        (10, 50, False),
        (-50, -10, False),
        (70, 90, False),
    ],
)
async def test_a_freeze_holds_by_the_clock_and_by_the_time_of_the_change(
    backend: Backend, mesh: PlannedMesh, begins: float, ends: float, *, frozen: bool
) -> None:
    shard = await mesh.created("a")
    await under(mesh, freezes=(FreezeWindow(minutes(begins), minutes(ends), "quarter end"),))
    await backend.run_ahead(HOUR)
    assert rules(await move(mesh, shard, "node-b")) == ([PolicyRule.FREEZE] if frozen else [])


@pytest.mark.parametrize(
    ("policy", "rule"), [("window_moves", PolicyRule.WINDOW_BUDGET), ("shard_window_moves", PolicyRule.SHARD_THRASH)]
)
async def test_moves_before_the_jump_are_in_the_window_for_as_long_as_the_clock_says(
    backend: Backend, mesh: PlannedMesh, policy: str, rule: PolicyRule
) -> None:
    shard = await mesh.created("a")
    await under(mesh, window_seconds=1_800, **{policy: 1})
    shard = await mesh.updated(shard, owner_node_id="node-b")
    await mesh.create(new("b"))
    await backend.run_ahead(HOUR)
    assert rules(await move(mesh, shard, "node-c")) == [rule]


async def test_a_pin_holds_by_the_clock(backend: Backend, mesh: PlannedMesh) -> None:
    await mesh.registered("node-a")
    shard = await mesh.updated(await mesh.created("a"), pin=PinRequest("audit", minutes(30)))
    await backend.run_ahead(HOUR)
    assert rules(await move(mesh, shard, "node-b")) == [PolicyRule.PIN]


async def test_a_plan_expires_by_the_clock_and_one_made_meanwhile_an_hour_later(
    backend: Backend, mesh: PlannedMesh
) -> None:
    await mesh.registered("node-a", "node-b")
    await mesh.filled(4)
    early = (await mesh.plan()).plan
    await backend.run_ahead(early.expires_at - datetime.now(UTC) + HOUR)
    assert (await mesh.kept_plan(early)).status is PlanStatus.PROPOSED
    await mesh.reject(early)
    late = (await mesh.plan(change=because("again"))).plan
    assert late.expires_at - early.expires_at > HOUR
    assert (await mesh.kept_plan(late)).status is PlanStatus.PROPOSED


async def test_a_time_stands_for_the_newest_change_that_was_committed_by_then(
    backend: Backend, mesh: PlannedMesh
) -> None:
    await mesh.created("a")
    before = datetime.now(UTC)
    await mesh.configure("other")
    await backend.run_ahead(HOUR)
    await mesh.created("b")
    assert [key.shard_id for key in await mesh.table(AsOf(time=before))] == ["a"]
    assert [key.shard_id for key in await mesh.table(AsOf(time=minutes(5)))] == ["a"]
    assert [key.shard_id for key in await mesh.table(AsOf(time=minutes(61)))] == ["a", "b"]
