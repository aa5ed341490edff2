"""Units of work: all or nothing, one after the other, and out of the way of readers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from persistence.commands import Command, ConfigureNamespace, CreateShards, UpdateShards
from persistence.decisions import decide
from persistence.errors import TransientConflict
from persistence.outcomes import VersionConflict
from persistence.ports import Store, UnitOfWork
from persistence.queries import ChangeFilter, ShardFilter
from persistence.read_set import ReadSet
from persistence.writes import Conditions, WriteSet
from strategies.registry import Registry
from tests.support.mesh import BILLING, CHANGE, SEARCH, Mesh, because, new, patch
from tests.support.replicas import ON_A_REPLICA_TOO

pytestmark = ON_A_REPLICA_TOO

KEYED = because("once", idempotency_key="key-1")


async def decided(unit: UnitOfWork, command: Command) -> WriteSet:
    """What the writer would commit now."""
    if command.change.idempotency_key is not None:
        assert await unit.earlier(command.change.actor, command.change.idempotency_key) is None
    decision = decide(command, await unit.read(command.reads), Registry())
    assert isinstance(decision, WriteSet)
    return decision


async def let_pass(mesh: Mesh) -> None:
    """Round trips, many more than a writer needs to pass us if nothing holds it."""
    for _ in range(50):
        await mesh.store.stream.head()
        await asyncio.sleep(0)


@pytest.fixture
async def busy(mesh: Mesh) -> Mesh:
    """Several writers have been here at once, so the next ones need not wait for connections first."""
    await asyncio.gather(*(mesh.create(new(f"busy-{number}")) for number in range(4)))
    return mesh


async def everything_in(store: Store) -> tuple[object, ...]:
    mesh = Mesh(store)
    return await store.stream.head(), await mesh.table(), await mesh.history(), await mesh.changes()


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


async def test_a_cancelled_writer_leaves_no_trace_and_no_lock(mesh: Mesh) -> None:
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


async def test_a_second_writer_of_a_shard_waits_for_the_first(busy: Mesh) -> None:
    shard = await busy.created("s1")
    async with busy.store.unit_of_work() as unit:
        write_set = await decided(unit, UpdateShards([patch(shard, owner_node_id="first")], CHANGE))
        second = asyncio.create_task(busy.execute(UpdateShards([patch(shard, owner_node_id="second")], CHANGE)))
        await let_pass(busy)
        assert not second.done()
        first = await unit.commit(write_set)
    outcome = await second
    assert isinstance(outcome, VersionConflict)
    assert [(stale.expected, stale.actual, stale.last_change) for stale in outcome.stale] == [(1, 2, first.change)]


async def test_a_reconfiguration_waits_for_the_writers_that_read_the_configuration(busy: Mesh) -> None:
    async with busy.store.unit_of_work() as unit:
        write_set = await decided(unit, CreateShards([new("s1")], CHANGE))
        configuration = asyncio.create_task(busy.configure(strategy="ring", expected=1))
        await let_pass(busy)
        assert not configuration.done()
        created = await unit.commit(write_set)
    assert (await configuration).change.id == created.change.id + 1
    shard = await busy.shard("s1")
    assert shard is not None
    assert shard.strategy == "rendezvous"


async def test_writers_wait_for_a_reconfiguration_and_go_by_the_new_one(busy: Mesh) -> None:
    async with busy.store.unit_of_work() as unit:
        write_set = await decided(unit, ConfigureNamespace(BILLING, "ring", {}, 1, CHANGE))
        creation = asyncio.create_task(busy.created("s1"))
        await let_pass(busy)
        assert not creation.done()
        await unit.commit(write_set)
    assert (await creation).strategy == "ring"


@pytest.mark.parametrize(
    "broken",
    [
        {"frozen_from": datetime(2020, 1, 1, tzinfo=UTC)},
        {"fewest_shards": {BILLING: 2}},
    ],
)
async def test_what_is_decided_on_what_is_no_longer_so_is_not_committed(mesh: Mesh, broken: dict[str, Any]) -> None:
    shard = await mesh.created("s1")
    before = await everything_in(mesh.store)

    async def commit() -> None:
        async with mesh.store.unit_of_work() as unit:
            write_set = await decided(unit, UpdateShards([patch(shard, owner_node_id="node-b")], CHANGE))
            await unit.commit(replace(write_set, conditions=Conditions(**broken)))

    with pytest.raises(TransientConflict, match="policy allows has changed"):
        await commit()
    assert await everything_in(mesh.store) == before


async def test_a_change_is_committed_no_earlier_than_it_was_decided(mesh: Mesh) -> None:
    ahead = (await mesh.created("s1")).updated_at + timedelta(minutes=5)
    held = Conditions(ahead, ahead + timedelta(seconds=1), {BILLING: 1})
    async with mesh.store.unit_of_work() as unit:
        write_set = await decided(unit, CreateShards([new("s2")], CHANGE))
        outcome = await unit.commit(replace(write_set, conditions=held))
    assert outcome.change.committed_at == ahead
    assert (await mesh.create(new("s3"))).change.committed_at >= ahead


async def test_what_is_locked_is_what_there_is(mesh: Mesh) -> None:
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
        *(store.shards.count(ShardFilter(search=str(number))) for number in range(5)),
        *(mesh.difference(0, revision) for revision in range(0, 41, 10)),
        *(store.changes.count(ChangeFilter(actor="ops")) for _ in range(5)),
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
