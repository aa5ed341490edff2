"""A request that carries a key is done once, however often it is made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import pytest

from persistence.commands.command import Command
from persistence.commands.shards import CreateShards, DeleteShards, ShardPatch, UpdateShards
from persistence.errors import CommitUnknown, StoreUnavailable, Unavailable
from persistence.model.outcomes import (
    IdempotencyKeyReused,
    NamespaceConfigured,
    NotFound,
    ShardsChanged,
    VersionConflict,
)
from persistence.ports.writes import UnitOfWork
from persistence.service.executor import CommandExecutor
from tests.support.mesh import BILLING, SEARCH, Mesh, as_it_is, because, changed, new, patch

KEYED = because("once", idempotency_key="key-1")
# Once more when connections are open and statements prepared: only then do writers really meet.
ROUNDS: Final = ("a", "b", "c")


async def replayed(mesh: Mesh, command: Command) -> None:
    """The command changes the store once and is given the first answer ever after."""
    first = await mesh.execute(command)
    assert isinstance(first, ShardsChanged)
    assert not first.replayed
    assert await mesh.execute(command) == replace(first, replayed=True)
    position = await mesh.create(new("unrelated"))
    assert await mesh.execute(command) == replace(first, replayed=True)
    assert (await mesh.store.stream.head()).position == position.position


async def test_a_creation_made_twice_is_one_change_and_one_answer(mesh: Mesh) -> None:
    await replayed(mesh, CreateShards([new("s2"), new("s1")], KEYED))


async def test_an_update_made_twice_is_one_change_and_one_answer(mesh: Mesh) -> None:
    first, second = (await mesh.create(new("s1"), new("s2"))).shards
    await replayed(mesh, UpdateShards([patch(second, leader_id="x"), patch(first, owner_node_id="node-b")], KEYED))


async def test_a_deletion_made_twice_is_one_change_and_one_answer(mesh: Mesh) -> None:
    shards = (await mesh.create(new("s1"), new("s2"))).shards
    await replayed(mesh, DeleteShards([as_it_is(shard) for shard in reversed(shards)], KEYED))


async def test_the_first_answer_survives_later_changes_of_the_shard(mesh: Mesh) -> None:
    command = CreateShards([new("s1", "node-a")], KEYED)
    first = changed(await mesh.execute(command))
    moved = await mesh.updated(first.shards[0], owner_node_id="node-b")
    await mesh.delete(moved)
    assert await mesh.execute(command) == replace(first, replayed=True)


async def test_a_configuration_made_twice_is_one_change_and_one_answer(mesh: Mesh) -> None:
    first = await mesh.configure(SEARCH, strategy="ring", parameters={"virtualNodes": 7}, change=KEYED)
    again = await mesh.configure(SEARCH, strategy="ring", parameters={"virtualNodes": 7}, change=KEYED)
    assert again == replace(first, replayed=True)
    assert len(await mesh.changes()) == 2


async def test_a_configuration_that_was_replaced_since_is_answered_as_it_was_made(mesh: Mesh) -> None:
    first = await mesh.configure(SEARCH, strategy="ring", change=KEYED)
    await mesh.configure(SEARCH, strategy="locality", expected=1)
    again = await mesh.configure(SEARCH, strategy="ring", change=KEYED)
    assert again == NamespaceConfigured(first.change, first.namespace, replayed=True)


@pytest.mark.parametrize(
    "other",
    [
        CreateShards([new("s2")], KEYED),
        CreateShards([new("s1", "node-b")], KEYED),
        CreateShards([new("s1", capacity_hint=2.0)], KEYED),
        CreateShards([new("s1"), new("s2")], KEYED),
        CreateShards([new("s1")], replace(KEYED, reason="twice")),
        CreateShards([new("s1")], replace(KEYED, change_ticket="CHG-1")),
        CreateShards([new("s1")], replace(KEYED, metadata={"a": 1})),
        UpdateShards([ShardPatch(BILLING, "s1", 1, owner_node_id="node-a")], KEYED),
        UpdateShards([ShardPatch("unknown", "s1", 1, owner_node_id="node-a")], KEYED),
    ],
)
async def test_a_key_that_belongs_to_another_request_is_refused(mesh: Mesh, other: Command) -> None:
    first = await mesh.create(new("s1"), change=KEYED)
    assert await mesh.execute(other) == IdempotencyKeyReused("key-1", first.change)
    assert await mesh.changes() == [*(await mesh.changes())[:1], first.change]


async def test_leaving_a_field_alone_is_another_request_than_clearing_it(mesh: Mesh) -> None:
    shard = await mesh.created("s1", leader_id="node-b")
    first = await mesh.update(patch(shard, capacity_hint=2.0), change=KEYED)
    outcome = await mesh.execute(UpdateShards([patch(shard, capacity_hint=2.0, leader_id=None)], KEYED))
    assert outcome == IdempotencyKeyReused("key-1", first.change)


async def test_keys_belong_to_their_actor(mesh: Mesh) -> None:
    mine = await mesh.create(new("s1"), change=KEYED)
    theirs = await mesh.create(new("s2"), change=replace(KEYED, actor="rebalancer"))
    assert theirs.change.id == mine.change.id + 1


async def test_actor_and_key_do_not_run_into_each_other(mesh: Mesh) -> None:
    await mesh.create(new("s1"), change=because("once", actor="ab", idempotency_key="c"))
    other = await mesh.create(new("s2"), change=because("once", actor="a", idempotency_key="bc"))
    assert not other.replayed


async def test_without_a_key_every_request_is_a_new_one(mesh: Mesh) -> None:
    shard = await mesh.created("s1")
    once = UpdateShards([patch(shard, leader_id="x")], because("no key"))
    assert isinstance(await mesh.execute(once), ShardsChanged)
    assert isinstance(await mesh.execute(once), VersionConflict)


async def test_after_a_conflict_nothing_is_claimed(mesh: Mesh) -> None:
    shard = await mesh.created("s1")
    stale = UpdateShards([patch(replace(shard, version=7), leader_id="x")], KEYED)
    assert isinstance(await mesh.execute(stale), VersionConflict)
    fresh = await mesh.execute(UpdateShards([patch(shard, leader_id="x")], KEYED))
    assert isinstance(fresh, ShardsChanged)
    assert not fresh.replayed


async def test_after_not_found_nothing_is_claimed(mesh: Mesh) -> None:
    command = CreateShards([new("s1", namespace=SEARCH)], KEYED)
    assert isinstance(await mesh.execute(command), NotFound)
    await mesh.configure(SEARCH)
    outcome = await mesh.execute(command)
    assert isinstance(outcome, ShardsChanged)
    assert not outcome.replayed


async def test_of_many_requests_at_once_with_one_key_one_makes_the_change(mesh: Mesh) -> None:
    for key in ROUNDS:
        command = CreateShards([new(key)], replace(KEYED, idempotency_key=key))
        outcomes = [changed(outcome) for outcome in await asyncio.gather(*(mesh.execute(command) for _ in range(12)))]
        (made,) = (outcome for outcome in outcomes if not outcome.replayed)
        assert [outcome for outcome in outcomes if outcome.replayed] == [replace(made, replayed=True)] * 11
    assert [row.shard_id for row in await mesh.history()] == list(ROUNDS)


async def test_of_many_different_requests_at_once_with_one_key_one_makes_a_change(mesh: Mesh) -> None:
    for key in ROUNDS:
        change = replace(KEYED, idempotency_key=key)
        commands = [CreateShards([new(f"{key}{number}")], change) for number in range(8)]
        outcomes = await asyncio.gather(*map(mesh.execute, commands))
        (made,) = (outcome for outcome in outcomes if isinstance(outcome, ShardsChanged))
        refused = [outcome for outcome in outcomes if outcome is not made]
        assert refused == [IdempotencyKeyReused(key, made.change)] * 7
    assert len(await mesh.history()) == 3


async def test_keys_that_are_alike_for_a_long_way_are_two_keys(mesh: Mesh) -> None:
    beginning = "🚚" * 254
    for number in range(2):
        outcome = await mesh.create(
            new(f"s{number}"),
            change=because("once", actor=beginning, idempotency_key=f"{beginning}{number}"),
        )
        assert not outcome.replayed


class BeforeTheStandby:
    """A unit of work that finds what is not known to be on the standby; the rest of the port is the unit's own."""

    def __init__(self, unit: UnitOfWork) -> None:
        self._unit = unit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._unit, name)

    async def barrier(self) -> None:
        raise StoreUnavailable("the synchronous standby has confirmed nothing", Unavailable.AWAITING_STANDBY)


async def test_an_answer_that_may_yet_be_lost_is_unknown_and_not_nothing(mesh: Mesh) -> None:
    @asynccontextmanager
    async def unit_of_work() -> AsyncIterator[UnitOfWork]:
        async with mesh.store.unit_of_work() as unit:
            yield BeforeTheStandby(unit)

    await mesh.create(new("s1"), change=KEYED)
    writer = CommandExecutor(unit_of_work)
    with pytest.raises(CommitUnknown, match="may not be on the standby yet"):
        await writer.execute(CreateShards([new("s1")], KEYED))
    with pytest.raises(StoreUnavailable) as another:
        await writer.execute(CreateShards([new("s2")], KEYED))
    assert not isinstance(another.value, CommitUnknown), "of this request nothing was written"
