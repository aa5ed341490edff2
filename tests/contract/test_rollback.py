"""Taking changes back: by a plan that gives shards what they had, and leaves alone what came later."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from persistence.commands.plans import RollbackTarget
from persistence.errors import Compacted, FutureCursor, InvalidArgument
from persistence.model.outcomes import IdempotencyKeyReused, NotFound, StalePlan
from persistence.model.plans import ConflictReason, PlanKind
from persistence.model.records import ChangeKind, MoveReason, NodeStatus, Pin, Rebalance, Shard, ShardStatus
from persistence.planning.proposal import Conflict, Move, Restored, Rollback
from persistence.service.rebalancer import PlanRequest
from tests.contract.conftest import Backend
from tests.support.mesh import BILLING, CHANGE, SEARCH, because, new, patch
from tests.support.planned_mesh import PlannedMesh

NODES = ("node-a", "node-b", "node-c")
TICKET = because("move", change_ticket="CHG-1")


async def three(mesh: PlannedMesh) -> list[Shard]:
    """Three shards on the first of three nodes."""
    await mesh.registered(*NODES)
    return list(await mesh.filled(3))


def as_before(shard: Shard, back: Shard) -> bool:
    """Whether content is what it was, but for the ticket, which is that of the rollback."""
    return replace(shard.content, change_ticket=None) == replace(back.content, change_ticket=None)


async def conflicts(mesh: PlannedMesh, **target: Any) -> list[tuple[str, ConflictReason, int | None]]:
    """What a rollback that moves nothing leaves as it is."""
    plan = (await mesh.roll_back(**target)).plan
    proposal = await mesh.proposal(plan)
    assert proposal.moves == ()
    assert proposal.rollback is not None
    return [(one.shard_id, one.reason, one.change_id) for one in proposal.rollback.conflicts]


async def test_what_a_change_did_to_shards_is_given_back(mesh: PlannedMesh) -> None:
    first, second, third = await three(mesh)
    changed = await mesh.update(
        patch(first, owner_node_id="node-b"),
        patch(second, owner_node_id="node-c", leader_id="l", capacity_hint=2.0, status=ShardStatus.PAUSED),
        patch(third, locality_hint="eu", leader_id="l"),
    )
    table = await mesh.table()
    outcome = await mesh.roll_back(change_id=changed.change.id, change=TICKET)
    plan, proposal = outcome.plan, await mesh.proposal(outcome.plan)
    assert (outcome.change.kind, outcome.change.rebalance) == (ChangeKind.ROLLBACK_CHANGE, Rebalance(plan.id, 3, 3))
    assert (plan.kind, plan.namespaces, plan.move_count) == (PlanKind.ROLLBACK, (BILLING,), 3)
    rest = Restored(None, 1.0, None, ShardStatus.ACTIVE)
    assert proposal.moves == (
        Move(*first.key, 2, "node-b", "node-a", MoveReason.ROLLBACK),
        Move(*second.key, 2, "node-c", "node-a", MoveReason.ROLLBACK, rest),
        Move(*third.key, 2, "node-a", "node-a", MoveReason.ROLLBACK, rest),
    )
    assert proposal.rollback == Rollback(changed.change.id, None, None, None)
    assert {load.node_id: (load.shards_before, load.shards_after) for load in proposal.loads} == {
        "node-a": (1, 3),
        "node-b": (1, 0),
        "node-c": (1, 0),
    }
    assert await mesh.table() == table
    applied = await mesh.apply(plan, change=because("undo", change_ticket="CHG-2"))
    for before in (first, second, third):
        after = (await mesh.table())[before.key]
        assert as_before(before, after)
        assert (after.version, after.change_ticket) == (3, "CHG-2")
        assert after.owner_epoch == (1 if before is third else 3)
    rows = [row for row in await mesh.history() if row.change == applied.change]
    assert {row.move_reason for row in rows} == {MoveReason.ROLLBACK}


async def test_a_rollback_can_be_rolled_back(mesh: PlannedMesh) -> None:
    first, *_ = await three(mesh)
    changed = await mesh.update(patch(first, owner_node_id="node-b", leader_id="node-c"))
    undone = await mesh.apply((await mesh.roll_back(change_id=changed.change.id)).plan)
    await mesh.apply((await mesh.roll_back(change_id=undone.change.id)).plan)
    after = (await mesh.table())[first.key]
    assert (after.owner_node_id, after.leader_id, after.version) == ("node-b", "node-c", 4)
    assert await conflicts(mesh, change_id=changed.change.id) == [
        ("s0000", ConflictReason.CHANGED_SINCE, (await mesh.changes())[-2].id)
    ]


@pytest.mark.parametrize("status", [NodeStatus.REMOVED, NodeStatus.DOWN, NodeStatus.DRAINING, NodeStatus.CORDONED])
async def test_a_leader_that_may_not_be_given_shards_is_not_given_back(mesh: PlannedMesh, status: NodeStatus) -> None:
    await mesh.registered(*NODES, "node-l")
    led = {"leader_id": "node-l"}
    alone, taken, followed, moved = (await mesh.create(*(new(f"s{number}", **led) for number in range(4)))).shards
    changed = await mesh.update(
        patch(alone, leader_id="node-b"),
        patch(taken, leader_id=None, capacity_hint=2.0),
        patch(followed, owner_node_id="node-b", leader_id="node-b"),
        patch(moved, owner_node_id="node-b", leader_id="node-c"),
    )
    await mesh.mark("node-l", status=status)
    plan = (await mesh.roll_back(change_id=changed.change.id)).plan
    proposal = await mesh.proposal(plan)
    assert proposal.rollback is not None
    assert [(one.shard_id, one.reason) for one in proposal.rollback.conflicts] == [
        ("s0", ConflictReason.NODE_UNAVAILABLE)
    ]
    assert [(one.code, one.shard_id, one.node_id) for one in proposal.violations] == [
        ("LEADER_UNAVAILABLE", shard_id, "node-l") for shard_id in ("s1", "s2", "s3")
    ]
    await mesh.apply(plan)
    table = await mesh.table()
    assert {key.shard_id: (shard.owner_node_id, shard.leader_id) for key, shard in table.items()} == {
        "s0": ("node-a", "node-b"),
        "s1": ("node-a", None),
        "s2": ("node-a", "node-a"),
        "s3": ("node-a", "node-c"),
    }


async def test_a_leader_that_may_be_given_shards_is_given_back_unless_that_changes_before(mesh: PlannedMesh) -> None:
    await mesh.registered(*NODES, "node-l")
    shard = await mesh.created("s1", leader_id="node-l")
    changed = await mesh.update(patch(shard, leader_id="node-b"))
    plan = (await mesh.roll_back(change_id=changed.change.id)).plan
    node = await mesh.node("node-l")
    await mesh.mark("node-l", status=NodeStatus.DRAINING)
    refused = await mesh.ask_to_apply(plan)
    assert isinstance(refused, StalePlan)
    assert refused.node_ids == ("node-l",)
    await mesh.mark("node-l", status=NodeStatus.ACTIVE)
    assert node.version < (await mesh.node("node-l")).version
    await mesh.apply((await mesh.roll_back(change_id=changed.change.id)).plan)
    assert (await mesh.table())[shard.key].leader_id == "node-l"


async def test_a_leader_that_a_rollback_leaves_as_it_is_may_be_anything(mesh: PlannedMesh) -> None:
    await mesh.registered(*NODES)
    shard = await mesh.created("s1", leader_id="anything")
    changed = await mesh.update(patch(shard, capacity_hint=2.0))
    proposal = await mesh.proposal(plan := (await mesh.roll_back(change_id=changed.change.id)).plan)
    assert (proposal.violations, proposal.nodes) == ((), ())
    await mesh.apply(plan)
    assert as_before(shard, (await mesh.table())[shard.key])


async def test_shards_that_were_changed_later_are_left_alone(mesh: PlannedMesh) -> None:
    first, second, third = await three(mesh)
    changed = await mesh.update(*(patch(shard, owner_node_id="node-b") for shard in (first, second, third)))
    later = await mesh.update(patch(changed.shards[1], leader_id="l"))
    back = await mesh.update(patch(changed.shards[2], owner_node_id="node-a"))
    plan = (await mesh.roll_back(change_id=changed.change.id)).plan
    proposal = await mesh.proposal(plan)
    assert [move.key for move in proposal.moves] == [first.key]
    assert proposal.rollback == Rollback(
        changed.change.id,
        None,
        None,
        None,
        (
            Conflict(
                *second.key,
                ConflictReason.CHANGED_SINCE,
                later.change.id,
                f"billing/s0001 was changed since by change {later.change.id}: it is at version 3, not 2",
            ),
        ),
        unchanged=1,
    )
    await mesh.apply(plan)
    table = await mesh.table()
    assert (table[second.key], table[third.key]) == (later.shards[0], back.shards[0])


async def test_creating_and_deleting_are_not_taken_back(mesh: PlannedMesh) -> None:
    first, *_ = await three(mesh)
    head = (await mesh.store.stream.head()).revision
    created = await mesh.create(new("fresh"), new("short-lived"))
    deleted = await mesh.delete(first, created.shards[1])
    assert await conflicts(mesh, since_revision=head) == [
        ("fresh", ConflictReason.CREATED, created.change.id),
        ("s0000", ConflictReason.DELETED, deleted.change.id),
    ]


async def test_a_shard_that_others_deleted_later_is_left_alone(mesh: PlannedMesh) -> None:
    first, *_ = await three(mesh)
    changed = await mesh.update(patch(first, owner_node_id="node-b"))
    deleted = await mesh.delete(changed.shards[0])
    expected = [("s0000", ConflictReason.DELETED, deleted.change.id)]
    assert await conflicts(mesh, change_id=changed.change.id) == expected


async def test_all_changes_under_a_ticket_are_taken_back_together(mesh: PlannedMesh) -> None:
    first, second, _ = await three(mesh)
    (first,) = (await mesh.update(patch(first, owner_node_id="node-b"), change=TICKET)).shards
    await mesh.update(patch(first, owner_node_id="node-c"), patch(second, owner_node_id="node-c"), change=TICKET)
    await mesh.apply((await mesh.roll_back(change_ticket="CHG-1")).plan)
    assert {shard.owner_node_id for shard in (await mesh.table()).values()} == {"node-a"}
    proposal = await mesh.proposal((await mesh.roll_back(change_ticket="CHG-1")).plan)
    assert (proposal.moves, proposal.rollback) == ((), Rollback(None, "CHG-1", None, None, unchanged=2))


async def test_what_others_did_in_between_is_not_taken_back(mesh: PlannedMesh) -> None:
    first, *_ = await three(mesh)
    (first,) = (await mesh.update(patch(first, owner_node_id="node-b"), change=TICKET)).shards
    first = await mesh.updated(first, capacity_hint=5.0)
    await mesh.update(patch(first, owner_node_id="node-c"), change=TICKET)
    assert await conflicts(mesh, change_ticket="CHG-1") == [("s0000", ConflictReason.CHANGED_SINCE, None)]


async def test_everything_after_a_revision_is_taken_back_in_one_namespace(mesh: PlannedMesh) -> None:
    first, *_ = await three(mesh)
    await mesh.configure(SEARCH)
    (other,) = await mesh.filled(1, "node-b", SEARCH)
    head = (await mesh.store.stream.head()).revision
    for owner in ("node-b", "node-c"):
        first = await mesh.updated(first, owner_node_id=owner)
    other = await mesh.updated(other, owner_node_id="node-c")
    await mesh.apply((await mesh.roll_back(since_revision=head, namespace=BILLING)).plan)
    table = await mesh.table()
    assert (table[first.key].owner_node_id, table[other.key]) == ("node-a", other)


async def test_a_shard_stays_where_its_owner_of_before_cannot_have_it(mesh: PlannedMesh, backend: Backend) -> None:
    first, second, third = await three(mesh)
    stray = await mesh.created("stray", "unregistered")
    changed = await mesh.update(*(patch(shard, owner_node_id="node-b") for shard in (first, second, third, stray)))
    await mesh.mark("node-a", status=NodeStatus.DRAINING)
    await backend.pin(first.key, Pin("ops", "stays", None))
    assert [(shard_id, reason) for shard_id, reason, _ in await conflicts(mesh, change_id=changed.change.id)] == [
        ("s0000", ConflictReason.PINNED),
        ("s0001", ConflictReason.NODE_UNAVAILABLE),
        ("s0002", ConflictReason.NODE_UNAVAILABLE),
        ("stray", ConflictReason.NODE_UNAVAILABLE),
    ]


async def test_the_same_rollback_is_the_same_plan_and_goes_stale_like_any_other(mesh: PlannedMesh) -> None:
    first, *_ = await three(mesh)
    changed = await mesh.update(patch(first, owner_node_id="node-b"))
    plan = await mesh.roll_back(change_id=changed.change.id)
    assert await mesh.roll_back(change_id=changed.change.id) == replace(plan, replayed=True)
    assert (await mesh.roll_back(since_revision=3)).plan.id != plan.plan.id
    await mesh.updated(changed.shards[0], leader_id="x")
    assert isinstance(await mesh.ask_to_apply(plan.plan), StalePlan)


async def test_rollbacks_do_not_supersede_each_other(mesh: PlannedMesh) -> None:
    first, second, _ = await three(mesh)
    changes = [await mesh.update(patch(shard, owner_node_id="node-b")) for shard in (first, second)]
    plans = [(await mesh.roll_back(change_id=changed.change.id)).plan for changed in changes]
    rebalance = (await mesh.plan()).plan
    for plan in reversed(plans):
        await mesh.approve(plan)
    for plan in plans:
        await mesh.apply(plan)
    assert (await mesh.kept_plan(rebalance)) == rebalance


async def test_a_large_rollback_goes_on_where_it_ended(mesh: PlannedMesh) -> None:
    shards = await three(mesh)
    changed = await mesh.update(*(patch(shard, owner_node_id="node-b") for shard in shards))
    for left in (1, 0):
        plan = (await mesh.roll_back(change_id=changed.change.id, max_moves=2)).plan
        assert (await mesh.proposal(plan)).remaining_moves == left
        await mesh.apply(plan)
    assert {shard.owner_node_id for shard in (await mesh.table()).values()} == {"node-a"}


async def test_what_is_not_there_cannot_be_rolled_back(mesh: PlannedMesh, backend: Backend) -> None:
    shards = await three(mesh)
    changed = await mesh.update(patch(shards[0], owner_node_id="node-b"))

    async def refused(**target: Any) -> object:
        return await mesh.rebalancer.roll_back(RollbackTarget(**target), PlanRequest(), CHANGE)

    assert await refused(change_id=99) == NotFound(changes=("99",))
    assert await refused(change_ticket="CHG-9") == NotFound(changes=("CHG-9",))
    with pytest.raises(FutureCursor):
        await refused(since_revision=99)
    for wrong, message in (
        ({}, "give exactly one"),
        ({"change_id": 1, "since_revision": 1}, "give exactly one"),
        ({"change_id": 1}, "changeId: changed no shard"),
        ({"since_revision": 4}, "sinceRevision: leaves nothing to roll back"),
        ({"since_revision": 0, "namespace": "nobody"}, "namespace: leaves nothing to roll back"),
        ({"change_ticket": " "}, "changeTicket: "),
        ({"change_id": 1, "namespace": "no way"}, "namespace: "),
    ):
        with pytest.raises(InvalidArgument, match=message):
            await refused(**wrong)
    await backend.compact(4)
    for gone in ({"change_id": changed.change.id}, {"since_revision": 3}):
        with pytest.raises(Compacted):
            await refused(**gone)


async def test_a_rollback_asked_for_twice_with_one_key_is_one_plan(mesh: PlannedMesh) -> None:
    shards = await three(mesh)
    changed = await mesh.update(patch(shards[0], owner_node_id="node-b"))
    keyed = because("once", idempotency_key="key-1")
    first = await mesh.roll_back(change_id=changed.change.id, change=keyed)
    await mesh.updated(shards[1], leader_id="l")
    assert await mesh.roll_back(change_id=changed.change.id, change=keyed) == replace(first, replayed=True)
    other = await mesh.rebalancer.roll_back(RollbackTarget(since_revision=1), PlanRequest(), keyed)
    assert other == IdempotencyKeyReused("key-1", first.change)


async def test_the_waves_of_a_rebalance_are_taken_back_by_their_ticket(mesh: PlannedMesh) -> None:
    await mesh.registered(*NODES)
    await mesh.filled(12)
    before = {key: shard.owner_node_id for key, shard in (await mesh.table()).items()}
    plan = (await mesh.plan()).plan
    for _ in range(3):
        await mesh.apply(plan, 1, change=TICKET)
    moved = [key for key, shard in (await mesh.table()).items() if shard.owner_node_id != before[key]]
    assert len(moved) == 3
    back = (await mesh.roll_back(change_ticket="CHG-1")).plan
    await mesh.apply(back)
    assert {key: shard.owner_node_id for key, shard in (await mesh.table()).items()} == before
