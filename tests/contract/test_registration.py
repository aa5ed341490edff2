"""Namespaces whose owners and leaders must be registered."""

from __future__ import annotations

from typing import Any

import pytest

from persistence.commands.shards import CreateShards, DeleteShards, UpdateShards
from persistence.model.outcomes import BrokenRule, PolicyViolation
from persistence.model.plans import PlanStatus
from persistence.model.policy import NamespacePolicy, PolicyRule
from persistence.model.records import NodeStatus
from tests.support.mesh import BILLING, CHANGE, SEARCH, as_it_is, because, new, patch
from tests.support.planned_mesh import PlannedMesh

REQUIRED = NamespacePolicy(move_budget_percent=100, owners_must_be_registered=True)
FORCED = because("asked for", forced="the region is down")


@pytest.fixture
async def strict(mesh: PlannedMesh) -> PlannedMesh:
    await mesh.registered("node-a", "node-b")
    await mesh.configure(expected=1, policy=REQUIRED)
    return mesh


async def refused(mesh: PlannedMesh, command: Any) -> list[tuple[str | None, str]]:
    before = await mesh.everything_kept()
    outcome = await mesh.execute(command)
    assert isinstance(outcome, PolicyViolation), outcome
    assert {broken.rule for broken in outcome.violations} == {PolicyRule.REGISTRATION_REQUIRED}
    assert await mesh.everything_kept() == before
    return [(broken.shard_id, broken.actual) for broken in outcome.violations]


async def test_owners_and_leaders_that_are_not_registered_are_refused(strict: PlannedMesh) -> None:
    outcome = await strict.execute(CreateShards([new("s1", "node-x", leader_id="node-y")], CHANGE))
    assert outcome == PolicyViolation(
        tuple(
            BrokenRule(
                PolicyRule.REGISTRATION_REQUIRED,
                BILLING,
                "s1",
                f"{node_id} as {role}, which is not registered",
                "registered nodes",
                "Name one, or register it first.",
            )
            for node_id, role in (("node-x", "owner"), ("node-y", "leader"))
        )
    )
    shard = await strict.created("s1", "node-a", leader_id="node-b")
    for change in (CHANGE, FORCED):
        assert await refused(strict, UpdateShards([patch(shard, owner_node_id="node-x")], change)) == [
            ("s1", "node-x as owner, which is not registered")
        ]
        assert await refused(strict, UpdateShards([patch(shard, leader_id="node-x")], change)) == [
            ("s1", "node-x as leader, which is not registered")
        ]
    shard = await strict.updated(shard, leader_id=None)
    await strict.execute(DeleteShards([as_it_is(shard)], CHANGE))


async def test_a_node_that_was_removed_is_refused_and_one_that_is_to_be_vacated_is_not(strict: PlannedMesh) -> None:
    for node_id, status in (("gone", NodeStatus.REMOVED), ("dead", NodeStatus.DOWN), ("leaving", NodeStatus.DRAINING)):
        await strict.registered(node_id)
        await strict.mark(node_id, status=status)
    assert await refused(strict, CreateShards([new("s1", "gone")], CHANGE)) == [
        ("s1", "gone as owner, which is removed")
    ]
    await strict.create(new("s1", "dead", leader_id="leaving"))


async def test_what_is_so_already_is_left_alone(mesh: PlannedMesh) -> None:
    shard = await mesh.created("s1", "node-x", leader_id="node-y")
    await mesh.registered("node-a")
    await mesh.configure(expected=1, policy=REQUIRED)
    shard = await mesh.updated(shard, owner_node_id="node-x", leader_id="node-y", capacity_hint=2.0)
    assert (shard.owner_node_id, shard.leader_id, shard.capacity_hint) == ("node-x", "node-y", 2.0)
    assert (await mesh.updated(shard, owner_node_id="node-a")).leader_id == "node-y"


async def test_a_namespace_that_does_not_require_it_takes_any_owner(strict: PlannedMesh) -> None:
    await strict.configure(SEARCH)
    outcome = await strict.execute(
        CreateShards([new("s1", "node-x", namespace=SEARCH), new("s1", "node-a"), new("s2", "node-x")], CHANGE)
    )
    assert isinstance(outcome, PolicyViolation)
    assert [(broken.namespace, broken.shard_id) for broken in outcome.violations] == [(BILLING, "s2")]
    await strict.create(new("s1", "node-x", namespace=SEARCH))


async def test_thousands_are_looked_up_at_once(strict: PlannedMesh) -> None:
    given = [new(f"s{number:04}", "node-a" if number % 2 else f"node-x{number}") for number in range(300)]
    outcome = await strict.execute(CreateShards(given, CHANGE))
    assert isinstance(outcome, PolicyViolation)
    assert (len(outcome.violations), outcome.omitted) == (100, 50)
    await strict.create(*(shard for shard in given if shard.owner_node_id == "node-a"))


async def test_a_rollback_brings_no_leader_back_that_is_gone(mesh: PlannedMesh) -> None:
    await mesh.registered("node-a", "node-b", "node-c")
    shard = await mesh.created("s1", "node-a", leader_id="node-c")
    change = (await mesh.update(patch(shard, owner_node_id="node-b", leader_id=None))).change
    await mesh.mark("node-c", status=NodeStatus.REMOVED)
    await mesh.configure(expected=1, policy=REQUIRED)
    assert (await mesh.apply((await mesh.roll_back(change_id=change.id)).plan)).plan.status is PlanStatus.APPLIED
    restored = await mesh.shard("s1")
    assert restored is not None
    assert (restored.owner_node_id, restored.leader_id) == ("node-a", None)


async def test_plans_give_owners_and_leaders_as_elsewhere(strict: PlannedMesh) -> None:
    await strict.registered("node-c")
    await strict.create(*(new(f"s{number}", "node-a", leader_id="node-c") for number in range(6)))
    await strict.mark("node-c", status=NodeStatus.DRAINING)
    await strict.mark("node-a", status=NodeStatus.DRAINING)
    assert (await strict.apply((await strict.plan()).plan)).plan.status is PlanStatus.APPLIED
    table = (await strict.table()).values()
    assert {shard.owner_node_id for shard in table} == {"node-b"}
    assert {shard.leader_id for shard in table} <= {"node-b", None}
