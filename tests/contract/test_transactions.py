"""Units of work: all or nothing, committed on what they were decided on, and without locks on others."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from persistence.commands.command import Command
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.nodes import DrainNode, RegisterNode, UpdateNode
from persistence.commands.read_state import InputsRequired, ReadSet
from persistence.commands.shards import CreateShards, DeleteShards, PinRequest, ShardExpectation, UpdateShards
from persistence.commands.write_set import CommitConditions, WriteSet
from persistence.errors import InvalidArgument, TransientConflict
from persistence.handlers.dispatch import decide
from persistence.model.outcomes import Committed, PolicyViolation, StaleNamespace, VersionConflict
from persistence.model.policy import NamespacePolicy
from persistence.model.queries import ChangeFilter, ShardFilter
from persistence.model.records import NodeStatus
from persistence.ports.store import Store
from persistence.ports.writes import UnitOfWork
from strategies.registry import Registry
from tests.support.mesh import BILLING, CHANGE, COUNTED, SEARCH, Mesh, as_it_is, because, new, patch
from tests.support.replicas import ON_A_REPLICA_TOO

pytestmark = ON_A_REPLICA_TOO

KEYED = because("once", idempotency_key="key-1")


async def decided(unit: UnitOfWork, command: Command) -> WriteSet:
    """What the writer would commit now."""
    if command.change.idempotency_key is not None:
        assert await unit.earlier(command.change.actor, command.change.idempotency_key) is None
    state = await unit.read(command.reads)
    decision = decide(command, state, Registry())
    if isinstance(decision, InputsRequired):
        decision = decide(command, replace(state, inputs=await unit.read_inputs(decision)), Registry())
    assert isinstance(decision, WriteSet)
    return decision


async def everything_in(store: Store) -> tuple[object, ...]:
    mesh = Mesh(store)
    return await store.stream.head(), await mesh.table(), await mesh.history(), await mesh.changes()


async def overtaken(mesh: Mesh, command: Command, *others: Command) -> None:
    """Decides the command, lets the others be executed, and expects that what was decided is not committed any more."""
    overtaking: list[object] = []

    async def commit_late() -> None:
        async with mesh.store.unit_of_work() as unit:
            write_set = await decided(unit, command)
            for other in others:
                outcome = await asyncio.wait_for(mesh.execute(other), timeout=20)
                assert isinstance(outcome, Committed), outcome
            overtaking.append(await everything_in(mesh.store))
            await unit.commit(write_set)

    with pytest.raises(TransientConflict, match="was decided on changed before it was committed"):
        await commit_late()
    assert [await everything_in(mesh.store)] == overtaking


async def test_leaving_without_commit_leaves_no_trace(mesh: Mesh) -> None:
    before = await everything_in(mesh.store)
    async with mesh.store.unit_of_work() as unit:
        await decided(unit, CreateShards([new("s1")], KEYED))
    assert await everything_in(mesh.store) == before
    outcome = await mesh.create(new("s1"), change=KEYED)
    assert not outcome.replayed
    assert (outcome.change.id, outcome.shards[0].version, outcome.shards[0].revision) == (2, 1, 1)


async def test_an_error_leaves_no_trace_and_comes_through(mesh: Mesh) -> None:
    before = await everything_in(mesh.store)

    async def fail() -> None:
        async with mesh.store.unit_of_work() as unit:
            await decided(unit, CreateShards([new("s1")], KEYED))
            raise LookupError("by the caller")

    with pytest.raises(LookupError, match="by the caller"):
        await fail()
    assert await everything_in(mesh.store) == before
    assert not (await mesh.create(new("s1"), change=KEYED)).replayed


async def test_a_cancelled_writer_leaves_no_trace_and_nothing_to_wait_for(mesh: Mesh) -> None:
    shard = await mesh.created("s1")
    before = await everything_in(mesh.store)
    inside = asyncio.Event()

    async def hang() -> None:
        async with mesh.store.unit_of_work() as unit:
            await unit.read(ReadSet(namespaces=[BILLING], shards=[shard.key]))
            inside.set()
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(hang())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await everything_in(mesh.store) == before
    assert (await mesh.updated(shard, leader_id="x")).version == 2


async def test_what_is_not_committed_is_not_seen(mesh: Mesh) -> None:
    shard = await mesh.created("s1")
    before = await everything_in(mesh.store)
    async with mesh.store.unit_of_work() as unit:
        await unit.read(ReadSet(namespaces=[BILLING], shards=[shard.key]))
        assert await everything_in(mesh.store) == before


async def test_readers_do_not_wait_for_a_writer(mesh: Mesh) -> None:
    shard = await mesh.created("s1")
    async with mesh.store.unit_of_work() as unit:
        await unit.read(ReadSet(namespaces=[BILLING], shards=[shard.key], configure=True))
        found = await asyncio.wait_for(mesh.shard("s1"), timeout=20)
        assert await asyncio.wait_for(mesh.store.namespaces.get(BILLING), timeout=20)
    assert found == shard


async def test_of_two_that_decide_on_one_version_the_first_to_commit_has_it(mesh: Mesh) -> None:
    shard = await mesh.created("s1")
    first, second = (UpdateShards([patch(shard, owner_node_id=owner)], CHANGE) for owner in ("first", "second"))
    await overtaken(mesh, second, first)
    outcome = await mesh.execute(second)
    assert isinstance(outcome, VersionConflict)
    (stale,) = outcome.stale
    assert (stale.expected, stale.actual) == (1, 2)
    assert stale.current is not None
    assert stale.current.owner_node_id == "first"
    assert stale.last_change == (await mesh.changes())[-1]


async def test_of_two_that_create_an_absent_shard_the_first_to_commit_has_it(mesh: Mesh) -> None:
    await overtaken(mesh, CreateShards([new("s1")], CHANGE), CreateShards([new("s1", "first")], CHANGE))
    assert isinstance(await mesh.execute(CreateShards([new("s1")], CHANGE)), VersionConflict)


async def test_a_shard_that_came_and_went_since_it_was_found_absent_is_decided_anew(mesh: Mesh) -> None:
    """Or the fencing token that the one in between was given would be given again."""
    create = CreateShards([new("s1")], CHANGE)
    version_1, version_3 = (DeleteShards([ShardExpectation(BILLING, "s1", version)], CHANGE) for version in (1, 3))
    await overtaken(mesh, create, create, version_1)
    await overtaken(mesh, create, create, version_3)
    shard = await mesh.created("s1")
    assert (shard.version, shard.owner_epoch) == (5, 3)


async def test_a_shard_that_is_gone_since_it_was_read_is_not_changed(mesh: Mesh) -> None:
    shard = await mesh.created("s1", "a")
    move = UpdateShards([patch(shard, owner_node_id="b")], CHANGE)
    await overtaken(mesh, move, DeleteShards([as_it_is(shard)], CHANGE))
    assert isinstance(await mesh.execute(move), VersionConflict)


async def test_a_change_is_committed_under_the_configuration_it_was_decided_on(mesh: Mesh) -> None:
    await overtaken(mesh, CreateShards([new("s1")], CHANGE), ConfigureNamespace(BILLING, "ring", {}, 1, CHANGE))
    assert (await mesh.created("s1")).strategy == "ring"


async def test_a_reconfiguration_waits_for_no_writer_that_read_the_configuration(mesh: Mesh) -> None:
    async with mesh.store.unit_of_work() as unit:
        await decided(unit, CreateShards([new("s1")], CHANGE))
        configured = await asyncio.wait_for(mesh.configure(strategy="ring", expected=1), timeout=20)
    assert configured.namespace.version == 2


async def test_a_namespace_that_was_absent_is_created_once(mesh: Mesh) -> None:
    create = ConfigureNamespace(SEARCH, "ring", {}, 0, CHANGE)
    await overtaken(mesh, create, create)
    assert isinstance(await mesh.execute(create), StaleNamespace)


async def test_a_key_that_was_used_since_is_answered_and_not_used_again(mesh: Mesh) -> None:
    await overtaken(mesh, CreateShards([new("s1")], KEYED), CreateShards([new("s1")], KEYED))
    assert (await mesh.create(new("s1"), change=KEYED)).replayed


@pytest.mark.parametrize("limited", [True, False])
async def test_a_window_that_was_filled_since_is_counted_anew(mesh: Mesh, *, limited: bool) -> None:
    policy = NamespacePolicy(window_moves=2, move_budget_percent=100, involuntary_moves_limited=limited)
    await mesh.configure(expected=1, policy=policy)
    one, two, three = (await mesh.create(*(new(f"s{number}", "a") for number in range(3)))).shards
    first, second, third = (UpdateShards([patch(shard, owner_node_id="b")], CHANGE) for shard in (one, two, three))
    await overtaken(mesh, first, second, third)
    assert isinstance(await mesh.execute(first), PolicyViolation)


async def test_a_window_with_room_for_both_holds_neither_up(mesh: Mesh) -> None:
    await mesh.configure(expected=1, policy=NamespacePolicy(window_moves=2, move_budget_percent=100))
    one, two = (await mesh.create(*(new(f"s{number}", "a") for number in range(2)))).shards
    async with mesh.store.unit_of_work() as unit:
        write_set = await decided(unit, UpdateShards([patch(one, owner_node_id="b")], CHANGE))
        await asyncio.wait_for(mesh.updated(two, owner_node_id="b"), timeout=20)
        await unit.commit(write_set)
    assert {shard.owner_node_id for shard in (await mesh.table()).values()} == {"b"}


async def test_a_group_that_was_joined_since_is_looked_at_anew(mesh: Mesh) -> None:
    one = new("s1", "a", anti_affinity_group="g")
    two = new("s2", "a", anti_affinity_group="g")
    await overtaken(mesh, CreateShards([one], CHANGE), CreateShards([two], CHANGE))
    assert isinstance(await mesh.execute(CreateShards([one], CHANGE)), PolicyViolation)


async def test_a_pin_to_a_node_that_is_drained_since_is_decided_anew(mesh: Mesh) -> None:
    for node_id in ("node-a", "node-b"):
        assert isinstance(await mesh.execute(RegisterNode(node_id, CHANGE)), Committed)
    shard = await mesh.created("s1", "node-a")
    pinning = UpdateShards([patch(shard, pin=PinRequest("hot tenant"))], CHANGE)
    await overtaken(mesh, pinning, DrainNode("node-a", 1, CHANGE))
    with pytest.raises(InvalidArgument, match="which is DRAINING and may not own shards"):
        await mesh.execute(pinning)


@pytest.mark.parametrize("role", ["owner_node_id", "leader_id"])
async def test_a_node_that_must_be_registered_and_is_removed_since_is_looked_at_anew(mesh: Mesh, role: str) -> None:
    await mesh.configure(expected=1, policy=NamespacePolicy(owners_must_be_registered=True))
    for node_id in ("node-a", "node-b"):
        assert isinstance(await mesh.execute(RegisterNode(node_id, CHANGE)), Committed)
    giving = UpdateShards([patch(await mesh.created("s1", "node-a"), **{role: "node-b"})], CHANGE)
    await overtaken(mesh, giving, UpdateNode("node-b", 1, CHANGE, status=NodeStatus.REMOVED))
    assert isinstance(await mesh.execute(giving), PolicyViolation)


async def test_a_node_that_is_registered_since_is_looked_at_anew(mesh: Mesh) -> None:
    await mesh.configure(expected=1, policy=NamespacePolicy(owners_must_be_registered=True))
    creating = CreateShards([new("s1", "node-a")], CHANGE)
    assert isinstance(await mesh.execute(creating), PolicyViolation)
    assert isinstance(await mesh.execute(RegisterNode("node-a", CHANGE)), Committed)
    await overtaken(mesh, creating, DrainNode("node-a", 1, CHANGE))
    assert isinstance(await mesh.execute(creating), Committed)


@pytest.mark.parametrize(
    "broken",
    [
        {"frozen_from": datetime(2020, 1, 1, tzinfo=UTC)},
        {"fewest_shards": {BILLING: 2}},
        {"moves_left": {BILLING: -1}},
        {"voluntary_moves_left": {BILLING: -1}},
        {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)},
    ],
)
async def test_what_is_decided_on_what_is_no_longer_so_is_not_committed(mesh: Mesh, broken: dict[str, Any]) -> None:
    shard = await mesh.created("s1")
    before = await everything_in(mesh.store)

    async def commit() -> None:
        async with mesh.store.unit_of_work() as unit:
            write_set = await decided(unit, UpdateShards([patch(shard, owner_node_id="node-b")], CHANGE))
            await unit.commit(replace(write_set, conditions=CommitConditions(**broken)))

    with pytest.raises(TransientConflict, match="changed before it was committed"):
        await commit()
    assert await everything_in(mesh.store) == before


async def test_a_change_is_committed_no_earlier_than_it_was_decided(mesh: Mesh) -> None:
    ahead = (await mesh.created("s1")).updated_at + timedelta(minutes=5)
    held = CommitConditions(ahead, ahead + timedelta(seconds=1), {BILLING: 1})
    async with mesh.store.unit_of_work() as unit:
        write_set = await decided(unit, CreateShards([new("s2")], CHANGE))
        outcome = await unit.commit(replace(write_set, conditions=held))
    assert outcome.change.committed_at == ahead
    assert (await mesh.create(new("s3"))).change.committed_at >= ahead


async def test_what_is_read_is_what_there_is(mesh: Mesh) -> None:
    one, two = (await mesh.create(new("s1"), new("s2"))).shards
    await mesh.delete(two)
    async with mesh.store.unit_of_work() as unit:
        state = await unit.read(ReadSet(namespaces=[BILLING, "nowhere"], shards=[one.key, two.key, new("s3").key]))
    assert state.namespaces == {BILLING: await mesh.namespace()}
    assert state.shards == {one.key: one}
    assert {key: tuple(stone) for key, stone in state.tombstones.items()} == {two.key: (2, 1)}


async def test_the_last_change_of_a_shard_is_known_even_if_it_is_gone(mesh: Mesh) -> None:
    created = await mesh.create(new("s1"), new("s2"))
    one, two = created.shards
    deleted = await mesh.delete(two)
    async with mesh.store.unit_of_work() as unit:
        changes = await unit.last_changes([one.key, two.key, new("s3").key])
    assert changes == {one.key: created.change, two.key: deleted.change}


async def test_the_last_configuration_is_the_newest_of_that_namespace(mesh: Mesh) -> None:
    await mesh.configure(SEARCH)
    second = await mesh.configure(SEARCH, strategy="ring", expected=1)
    await mesh.create(new("s1", namespace=SEARCH))
    await mesh.configure(strategy="ring", expected=1)
    async with mesh.store.unit_of_work() as unit:
        assert await unit.last_configuration(SEARCH) == second.change
        assert await unit.last_configuration("nowhere") is None


async def test_readers_may_be_used_at_once(mesh: Mesh) -> None:
    """As the resolvers of one GraphQL request use them."""
    shards = (await mesh.create(*(new(f"s{number}") for number in range(20)))).shards
    await mesh.update(*(patch(shard, leader_id="x") for shard in shards))
    store = mesh.store
    reads = [
        *(store.shards.get(shard.key) for shard in shards),
        *(store.shards.page(ShardFilter(search=str(number)), COUNTED) for number in range(5)),
        *(mesh.difference(0, revision) for revision in range(0, 41, 10)),
        *(store.changes.page(ChangeFilter(actor="ops"), COUNTED, newest_first=True) for _ in range(5)),
        *(store.namespaces.get(BILLING) for _ in range(5)),
        *(store.stream.after(revision, 5) for revision in range(5)),
    ]
    answers = await asyncio.gather(*reads)
    assert len(answers) == 45
    one_by_one = [await store.shards.get(shard.key) for shard in shards]
    assert answers[:20] == one_by_one
    assert [stamped.value.version for stamped in one_by_one if stamped.value] == [2] * 20


async def test_committed_times_are_aware_and_never_go_back(mesh: Mesh) -> None:
    for number in range(5):
        await mesh.execute(CreateShards([new(f"s{number}")], CHANGE))
    times = [change.committed_at for change in await mesh.changes()]
    assert times == sorted(times)
    assert {time.utcoffset() is None for time in times} == {False}
