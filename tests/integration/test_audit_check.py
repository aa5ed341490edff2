"""Compliance, recounted from history: what broke a rule around the write path is found, what was forced is listed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from persistence.audit.compliance import CheckFilter, Report
from persistence.codec.json_documents import write_policy
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.shards import PinRequest
from persistence.model.outcomes import NamespaceConfigured, PolicyViolation
from persistence.model.policy import FreezeWindow, NamespacePolicy, RecurringFreeze
from persistence.model.records import NodeStatus
from persistence.postgres.audit.check import check
from persistence.postgres.store import open_store
from strategies.registry import Registry
from tests.support.mesh import BILLING, because, patch
from tests.support.planned_mesh import PlannedMesh

STRICT = NamespacePolicy(
    ticket_required=True,
    ticket_pattern="CHG-[0-9]+",
    approval_required=True,
    move_budget_percent=20,
    window_moves=3,
    shard_window_moves=2,
)
TICKET = because("planned", change_ticket="CHG-1")


@pytest.fixture
async def mesh(database_url: str) -> AsyncIterator[PlannedMesh]:
    async with open_store(database_url) as store:
        mesh = PlannedMesh(store)
        await mesh.configure()
        await mesh.registered("node-a", "node-b")
        await mesh.filled(10)
        yield mesh


async def checked(url: str, **where: Any) -> Report:
    return await check(url, Registry(), CheckFilter(**where))


def rules(report: Report) -> list[tuple[str, str, int]]:
    return [(breach.rule, breach.subject, breach.change_id) for breach in report.breaches]


async def believe(url: str, policy: NamespacePolicy) -> None:
    """Have history say that a policy was in force which the write path knew nothing of."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET session_replication_role = replica")
        details = await connection.fetchval("SELECT configuration::text FROM changes WHERE id = 1")
        document = json.loads(details)
        document["current"]["policy"] = write_policy(policy)
        await connection.execute("UPDATE changes SET configuration = $1::text::json WHERE id = 1", json.dumps(document))
    finally:
        await connection.close()


async def test_what_went_round_the_write_path_is_found(mesh: PlannedMesh, database_url: str) -> None:
    one = await mesh.shard("s0000")
    assert one is not None
    for owner in ("node-b", "node-a", "node-b"):
        one = await mesh.updated(one, owner_node_id=owner)
    others = [shard for shard in (await mesh.table()).values() if shard.shard_id != "s0000"][:1]
    await mesh.update(
        *(patch(shard, owner_node_id="node-b") for shard in others), change=because("x", change_ticket="no")
    )
    last = (await mesh.changes())[-1].id
    await believe(database_url, STRICT)
    report = await checked(database_url)
    assert rules(report) == [
        ("TICKET_REQUIRED", BILLING, last - 4),
        ("TICKET_REQUIRED", BILLING, last - 3),
        ("TICKET_REQUIRED", BILLING, last - 2),
        ("TICKET_REQUIRED", BILLING, last - 1),
        ("SHARD_THRASH", f"{BILLING}/s0000", last - 1),
        ("TICKET_PATTERN", BILLING, last),
        ("WINDOW_BUDGET", BILLING, last),
    ]
    assert rules(await checked(database_url, namespace="search")) == []
    moment = report.breaches[-1].at
    assert {change for *_, change in rules(await checked(database_url, since=moment))} == {last}


async def test_a_plan_applied_without_approval_is_found(mesh: PlannedMesh, database_url: str) -> None:
    plan = (await mesh.plan(max_moves=1)).plan
    applied = await mesh.apply(plan, change=TICKET)
    await believe(database_url, replace(STRICT, ticket_required=False))
    assert rules(await checked(database_url)) == [("APPROVAL_REQUIRED", BILLING, applied.change.id)]


async def test_who_proposes_and_approves_is_asked_anew_once_a_plan_was_closed(
    mesh: PlannedMesh, database_url: str
) -> None:
    """Alice and bob change places: each time, the approver was not the submitter."""
    alice, bob = (because("x", actor=actor, change_ticket="CHG-1") for actor in ("alice", "bob"))
    tight = replace(STRICT, move_budget_percent=100, window_moves=None)
    await mesh.configure(expected=1, policy=tight, change=alice)
    first = (await mesh.plan(max_moves=1, change=alice)).plan
    await mesh.approve(first, change=bob)
    await mesh.reject(first, change=bob)
    again = (await mesh.plan(max_moves=1, change=bob)).plan
    assert again.id == first.id
    await mesh.approve(again, change=alice)
    await mesh.apply(again, change=TICKET)
    assert rules(await checked(database_url)) == []


async def test_an_approval_of_before_a_plan_was_superseded_is_void(mesh: PlannedMesh, database_url: str) -> None:
    alice, bob = (because("x", actor=actor, change_ticket="CHG-1") for actor in ("alice", "bob"))
    first = (await mesh.plan(max_moves=1, change=alice)).plan
    await mesh.approve(first, change=bob)
    newer = (await mesh.plan(max_moves=2, change=alice)).plan
    await mesh.approve(newer, change=bob)
    applied = await mesh.apply((await mesh.plan(max_moves=1, change=alice)).plan, change=TICKET)
    assert applied.plan.id == first.id
    await believe(database_url, replace(STRICT, ticket_required=False))
    assert rules(await checked(database_url)) == [("APPROVAL_REQUIRED", BILLING, applied.change.id)]


async def test_rules_that_were_forced_are_listed_apart(mesh: PlannedMesh, database_url: str) -> None:
    tight = NamespacePolicy(move_budget_percent=10)
    outcome = await mesh.execute(ConfigureNamespace(BILLING, "rendezvous", {}, 1, because("rules"), policy=tight))
    assert isinstance(outcome, NamespaceConfigured), outcome
    shards = list((await mesh.table()).values())[:5]
    forced = replace(TICKET, forced="the rack burns")
    await mesh.update(*(patch(shard, owner_node_id="node-b") for shard in shards), change=forced)
    report = await checked(database_url)
    assert rules(report) == []
    (breach,) = report.forced
    assert (breach.rule, breach.actual, breach.forced) == ("MOVE_BUDGET", "5 of 10 shards moved", "the rack burns")


async def test_an_owner_that_no_plan_and_no_person_explains_is_found(mesh: PlannedMesh, database_url: str) -> None:
    assert (await checked(database_url)).overridden
    plan = (await mesh.plan()).plan
    await mesh.apply(plan, change=replace(TICKET, forced="the first placement"))
    assert rules(await checked(database_url)) == []
    await mesh.registered("node-c", "node-d")
    report = await checked(database_url)
    assert rules(report) == []
    assert all(found.allowed in ("on node-c", "on node-d") for found in report.pending)
    pending = len(report.pending)
    assert pending
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("UPDATE changes SET configuration = NULL WHERE kind = 'REGISTER_NODE'")
    finally:
        await connection.close()
    found = await checked(database_url)
    assert (len(found.breaches), found.pending) == (pending, [])
    assert {breach.rule for breach in found.breaches} == {"PLACEMENT"}


async def test_an_owner_given_back_by_a_rollback_is_explained_by_that(mesh: PlannedMesh, database_url: str) -> None:
    forced = replace(TICKET, forced="all in one go")
    moved = await mesh.apply((await mesh.plan()).plan, change=forced)
    await mesh.apply((await mesh.roll_back(change_id=moved.change.id)).plan, change=forced)
    report = await checked(database_url)
    assert rules(report) == []
    assert report.overridden == moved.change.shard_count


@pytest.mark.parametrize(
    ("left", "actual"),
    [
        (NodeStatus.DOWN, "led by node-l, which is DOWN"),
        (NodeStatus.DRAINING, "led by node-l, which is DRAINING"),
        (None, "led by node-l, which is not registered"),
    ],
)
async def test_a_leader_on_a_node_that_may_lead_nothing_is_found(
    mesh: PlannedMesh, database_url: str, left: NodeStatus | None, actual: str
) -> None:
    """Whoever made it leader, and until a plan has another node lead."""
    if left is not None:
        await mesh.registered("node-l", status=left)
    shards = list((await mesh.table()).values())[:2]
    pinned = await mesh.update(*(patch(shard, pin=PinRequest("stays")) for shard in shards))
    led = await mesh.update(*(patch(shard, leader_id="node-l") for shard in pinned.shards))
    await mesh.update(*(patch(one, capacity_hint=2.0) for one in led.shards))
    found = (await checked(database_url)).breaches
    assert [(one.rule, one.subject, one.change_id, one.actual, one.allowed) for one in found] == [
        ("LEADER", f"{BILLING}/{shard.shard_id}", led.change.id, actual, "led by node-a") for shard in shards
    ]
    await mesh.apply((await mesh.plan()).plan, change=replace(TICKET, forced="vacate it"))
    assert rules(await checked(database_url)) == []


async def test_a_move_is_not_involuntary_because_it_is_written_so(mesh: PlannedMesh, database_url: str) -> None:
    """Rows that say that the owner was down are held against what the node was."""
    policy = NamespacePolicy(move_budget_percent=10, window_moves=1, shard_window_moves=1)
    await mesh.mark("node-a", status=NodeStatus.DOWN)
    await mesh.apply((await mesh.plan()).plan, change=because("x", forced="all at once"))
    applied = (await mesh.changes())[-1].id
    await believe(database_url, policy)
    report = await checked(database_url)
    assert (rules(report), report.forced) == ([], [])
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            "UPDATE changes SET configuration = replace(configuration::text, 'DOWN', 'ACTIVE')::json"
        )
    finally:
        await connection.close()
    assert {(breach.rule, breach.change_id) for breach in (await checked(database_url)).forced} == {
        ("MOVE_BUDGET", applied),
        ("WINDOW_BUDGET", applied),
    }


@pytest.mark.parametrize(("status", "held_up"), [(NodeStatus.DOWN, False), (None, False), (NodeStatus.DRAINING, True)])
async def test_a_leader_that_is_gone_or_down_is_replaced_in_a_freeze_and_one_that_is_drained_is_not(
    mesh: PlannedMesh, database_url: str, status: NodeStatus | None, *, held_up: bool
) -> None:
    if status is not None:
        await mesh.registered("node-l", status=status)
    shards = list((await mesh.table()).values())
    led = await mesh.update(*(patch(shard, leader_id="node-l", pin=PinRequest("stays")) for shard in shards))
    begins = datetime.now(UTC) - timedelta(hours=1)
    freeze = FreezeWindow(begins, begins + timedelta(days=1), "the books are closed")
    await mesh.configure(expected=1, policy=NamespacePolicy(freezes=(freeze,), window_moves=1))
    outcome = await mesh.ask_to_apply((await mesh.plan()).plan)
    assert isinstance(outcome, PolicyViolation) is held_up
    assert rules(await checked(database_url)) == (
        [("LEADER", f"{BILLING}/{shard.shard_id}", led.change.id) for shard in shards] if held_up else []
    )


async def test_owners_and_leaders_that_were_not_registered_are_found(mesh: PlannedMesh, database_url: str) -> None:
    shard = await mesh.created("s", "node-a", leader_id="node-x")
    shard = await mesh.updated(shard, owner_node_id="node-y", leader_id="node-b")
    await mesh.updated(shard, capacity_hint=2.0)
    last = (await mesh.changes())[-1].id
    await believe(database_url, NamespacePolicy(move_budget_percent=100, owners_must_be_registered=True))
    assert rules(await checked(database_url)) == [
        ("REGISTRATION_REQUIRED", f"{BILLING}/s", last - 2),
        ("REGISTRATION_REQUIRED", f"{BILLING}/s", last - 1),
    ]


async def test_a_change_in_a_freeze_that_comes_again_is_found(mesh: PlannedMesh, database_url: str) -> None:
    change = (await mesh.created("s")).created_at
    freeze = RecurringFreeze(f"{change.minute} {change.hour} * * *", "PT1M", "UTC", "every day")
    policy = NamespacePolicy(move_budget_percent=100, recurring_freezes=(freeze,))
    await believe(database_url, policy)
    assert ("FREEZE", BILLING, (await mesh.changes())[-1].id) in rules(await checked(database_url))
    await believe(
        database_url,
        replace(policy, recurring_freezes=(replace(freeze, until=change.replace(second=0, microsecond=0)),)),
    )
    assert rules(await checked(database_url)) == []
