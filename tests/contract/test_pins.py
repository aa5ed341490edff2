"""Pins: made and cleared like any other field, kept by the write path until they end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from persistence.codec.encoding import shard_checksum
from persistence.commands.shards import CreateShards, PinRequest, UpdateShards
from persistence.errors import InvalidArgument
from persistence.model.outcomes import BrokenRule, ShardsChanged
from persistence.model.policy import PolicyRule
from persistence.model.records import NodeStatus, Pin, Shard
from tests.contract.conftest import Backend
from tests.support.mesh import BILLING, CHANGE, because, new, patch, refused
from tests.support.model import first_broken_link
from tests.support.planned_mesh import PlannedMesh

LATER = datetime(2999, 1, 31, 9, 30, tzinfo=UTC)
AUDIT = PinRequest("audit", LATER)
FOR_GOOD = PinRequest("hot tenant")


@pytest.fixture
async def staffed(mesh: PlannedMesh) -> PlannedMesh:
    await mesh.registered("node-a", "node-b")
    return mesh


async def pinned(mesh: PlannedMesh, pin: PinRequest = AUDIT, shard_id: str = "s1") -> Shard:
    return await mesh.updated(await mesh.created(shard_id), pin=pin)


async def test_a_pin_is_the_actors_and_is_in_checksum_history_and_chain(staffed: PlannedMesh) -> None:
    shard = await staffed.created("s1")
    (after,) = (await staffed.update(patch(shard, pin=AUDIT), change=because("keep it", actor="alice"))).shards
    assert after.pinned == Pin("alice", "audit", LATER)
    assert after.checksum == shard_checksum(after.key, after.content) != shard.checksum
    assert (after.owner_epoch, await staffed.shard("s1")) == (1, after)
    history = await staffed.history()
    assert (history[-1].changed_fields, history[-1].current) == (("pinned",), after)
    cleared = await staffed.updated(after, pin=None)
    assert (cleared.pinned, cleared.version) == (None, 3)
    assert first_broken_link(await staffed.changes(), await staffed.history()) is None


async def test_a_shard_can_be_created_with_a_pin(staffed: PlannedMesh) -> None:
    assert (await staffed.created("s1", pin=FOR_GOOD)).pinned == Pin("ops", "hot tenant", None)


async def test_what_is_not_said_of_a_pin_leaves_it(staffed: PlannedMesh) -> None:
    shard = await pinned(staffed)
    assert (await staffed.updated(shard, capacity_hint=3.0, owner_node_id="node-a")).pinned == shard.pinned


@pytest.mark.parametrize(
    ("pin", "until"), [(AUDIT, "2999-01-31T09:30:00Z"), (FOR_GOOD, "it is unpinned")], ids=["ending", "for good"]
)
async def test_a_pinned_shard_is_not_moved(staffed: PlannedMesh, pin: PinRequest, until: str) -> None:
    shard, other = await pinned(staffed, pin), await staffed.created("s2")
    kept = await staffed.everything_kept()
    both = [patch(one, owner_node_id="node-b") for one in (other, shard)]
    assert refused(await staffed.execute(UpdateShards(both, CHANGE))).violations == (
        BrokenRule(
            PolicyRule.PIN,
            BILLING,
            "s1",
            "a move from node-a to node-b",
            f"staying on node-a until {until}, as ops pinned it ({pin.reason})",
            "Unpin it first, or force it with a reason.",
        ),
    )
    assert await staffed.everything_kept() == kept


async def test_a_pin_is_not_moved_with_its_shard(staffed: PlannedMesh) -> None:
    shard = await pinned(staffed)
    elsewhere = patch(shard, owner_node_id="node-b", pin=PinRequest("here rather"))
    assert refused(await staffed.execute(UpdateShards([elsewhere], CHANGE))).violations[0].rule is PolicyRule.PIN


async def test_a_change_that_clears_the_pin_may_move_the_shard(staffed: PlannedMesh) -> None:
    after = await staffed.updated(await pinned(staffed), pin=None, owner_node_id="node-b")
    assert (after.pinned, after.owner_node_id, after.owner_epoch) == (None, "node-b", 2)


async def test_a_move_can_be_forced_and_the_pin_goes_with_it(staffed: PlannedMesh) -> None:
    shard = await pinned(staffed)
    force = because("the disk is dying", forced="the pin was for yesterday")
    (after,) = (await staffed.update(patch(shard, owner_node_id="node-b"), change=force)).shards
    assert (after.owner_node_id, after.pinned) == ("node-b", shard.pinned)


async def test_a_pin_that_has_ended_holds_nothing(backend: Backend, staffed: PlannedMesh) -> None:
    shard = await staffed.created("s1")
    await backend.pin(shard.key, Pin("alice", "audit", shard.created_at - timedelta(seconds=1)))
    assert (await staffed.updated(shard, owner_node_id="node-b")).owner_node_id == "node-b"


async def test_a_stale_version_is_told_before_a_pin(staffed: PlannedMesh) -> None:
    shard = await staffed.created("s1")
    await staffed.updated(shard, pin=AUDIT)
    outcome = await staffed.execute(UpdateShards([patch(shard, owner_node_id="node-b")], CHANGE))
    assert type(outcome).__name__ == "VersionConflict"


async def test_a_pin_ends_in_the_future(staffed: PlannedMesh) -> None:
    shard = await staffed.created("s1")
    past = PinRequest("audit", shard.created_at)
    for command in (
        UpdateShards([patch(shard, pin=past)], CHANGE),
        CreateShards([new("s2"), new("s3", pin=past)], CHANGE),
    ):
        with pytest.raises(InvalidArgument) as caught:
            await staffed.execute(command)
        (error,) = caught.value.errors
        assert error.field == f"shards[{len(command.shards) - 1}].pin.until"
        assert error.message.endswith("which has passed: a pin ends in the future, or has no end")


@pytest.mark.parametrize("status", [NodeStatus.DRAINING, NodeStatus.DOWN, NodeStatus.REMOVED, None])
async def test_no_shard_is_pinned_to_a_node_that_is_to_be_vacated(
    staffed: PlannedMesh, status: NodeStatus | None
) -> None:
    shard, away = await staffed.created("s1", "node-a"), "node-b" if status else "node-x"
    if status:
        await staffed.mark("node-b", status=status)
    asked: list[Callable[[PinRequest], Any]] = [
        lambda pin: CreateShards([new("s2", away, pin=pin)], CHANGE),
        lambda pin: UpdateShards([patch(shard, owner_node_id=away, pin=pin)], CHANGE, single=True),
    ]
    for command, field in zip(asked, ("shards[0].pin", "pin"), strict=True):
        with pytest.raises(InvalidArgument) as caught:
            await staffed.execute(command(FOR_GOOD))
        (error,) = caught.value.errors
        assert error.field == field
        assert error.message.startswith(f"would keep the shard on {away}, which is {status or 'not registered'} and")
    assert (await staffed.created("s3", away)).owner_node_id == away


async def test_a_shard_can_be_pinned_to_a_cordoned_node(staffed: PlannedMesh) -> None:
    await staffed.mark("node-a", status=NodeStatus.CORDONED)
    assert (await pinned(staffed)).pinned is not None


async def test_no_plan_moves_a_pinned_shard_until_it_is_unpinned(staffed: PlannedMesh) -> None:
    shards = await staffed.filled(8)
    moving = (await staffed.proposal((await staffed.plan()).plan)).moves[0]
    shard = next(shard for shard in shards if shard.key == moving.key)
    shard = await staffed.updated(shard, pin=AUDIT)
    kept = await staffed.proposal((await staffed.plan()).plan)
    assert moving.key not in {move.key for move in kept.moves}
    await staffed.updated(shard, pin=None)
    assert moving.key in {move.key for move in (await staffed.proposal((await staffed.plan()).plan)).moves}


async def test_a_plan_that_met_an_unseen_pin_is_refused(backend: Backend, staffed: PlannedMesh) -> None:
    """As a pin that had ended when the plan was made does when the store's clock goes back."""
    await staffed.filled(8)
    plan = (await staffed.plan()).plan
    moving = (await staffed.proposal(plan)).moves[0]
    await backend.pin(moving.key, Pin("alice", "audit", LATER))
    (broken,) = refused(await staffed.ask_to_apply(plan)).violations
    assert (broken.rule, broken.shard_id) == (PolicyRule.PIN, moving.shard_id)
    await staffed.apply(plan, change=because("now", forced="alice agrees"))


async def test_a_retry_under_an_idempotency_key_gets_the_answer_of_the_pin(staffed: PlannedMesh) -> None:
    shard = await staffed.created("s1")
    command = UpdateShards([patch(shard, pin=AUDIT)], because("keep it", idempotency_key="k1"))
    first, again = await staffed.execute(command), await staffed.execute(command)
    assert isinstance(first, ShardsChanged)
    assert isinstance(again, ShardsChanged)
    assert (again.replayed, again.shards) == (True, first.shards)
