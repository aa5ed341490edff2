"""Rows that a session beside the servers has locked: who is held up by that, for how long, and how it is answered."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest

from persistence.commands.command import Command
from persistence.commands.shards import CreateShards, DeleteShards, UpdateShards
from persistence.commands.write_set import WriteSet
from persistence.errors import Locked, Overloaded, RowsLocked
from persistence.handlers.dispatch import decide
from persistence.model.outcomes import ShardsChanged, VersionConflict
from persistence.model.records import Shard, ShardKey
from persistence.postgres.engine import translated
from persistence.postgres.store import open_store
from strategies.registry import Registry
from tests.support.mesh import BILLING, CHANGE, SEARCH, Mesh, as_it_is, changed, new, patch
from tests.support.statements import statements

_SHARD = "SELECT FROM shards WHERE shard_id = $1 FOR UPDATE"


@pytest.fixture
async def mesh(database_url: str) -> AsyncIterator[Mesh]:
    async with open_store(database_url) as store:
        mesh = Mesh(store)
        await mesh.configure()
        yield mesh


@asynccontextmanager
async def stranger(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """In a transaction, as one that was left open in psql."""
    connection = await asyncpg.connect(database_url, server_settings={"application_name": "psql"})
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


async def shards_of(mesh: Mesh, count: int) -> Sequence[Shard]:
    return changed(await mesh.execute(CreateShards([new(f"s{n:02}") for n in range(count)], CHANGE))).shards


def moved(*shards: Shard) -> Command:
    return UpdateShards([patch(shard, owner_node_id="node-b") for shard in shards], CHANGE)


def calls(sent: Sequence[str]) -> tuple[int, int]:
    """Of groups, and of changes by themselves."""
    return tuple(sum(f"FROM {name}(" in one for one in sent) for name in ("commit_changes", "commit_change"))  # type: ignore[return-value]


async def test_eight_writers_of_a_locked_shard_never_come_under_the_head(mesh: Mesh, database_url: str) -> None:
    locked, *others = await shards_of(mesh, 9)
    async with stranger(database_url) as session:
        await session.execute(_SHARD, locked.shard_id)
        with statements() as sent:
            refused = asyncio.gather(*(mesh.execute(moved(locked)) for _ in range(8)), return_exceptions=True)
            for shard in others:
                assert isinstance(await mesh.execute(moved(shard)), ShardsChanged)
            outcomes = await refused
        # Of the others, each in a group or alone.
        assert sum(calls(sent)) == 8
    assert [type(outcome) for outcome in outcomes] == [Locked] * 8


async def test_the_answer_names_the_session(mesh: Mesh, database_url: str) -> None:
    (shard,) = await shards_of(mesh, 1)
    async with stranger(database_url) as session:
        await session.execute(_SHARD, shard.shard_id)
        begun = await session.fetchval("SELECT now()")
        with pytest.raises(Locked) as refused:
            await mesh.execute(moved(shard))
        assert refused.value.rows == ("billing/s00",)
        (holder,) = refused.value.holders
        assert (holder.pid, holder.application_name) == (session.get_server_pid(), "psql")
        assert (holder.state, holder.since) == ("idle in transaction", begun)
        again = pickle.loads(pickle.dumps(refused.value))  # noqa: S301 - made here
        assert (str(again), again.holders, again.retry_after) == (str(refused.value), (holder,), 1.0)
    assert (await mesh.shard("s00")) == shard


async def test_a_lock_that_is_given_up_in_time_is_waited_for(mesh: Mesh, database_url: str) -> None:
    (shard,) = await shards_of(mesh, 1)
    async with stranger(database_url) as session:
        await session.execute(_SHARD, shard.shard_id)
        writing = asyncio.create_task(mesh.execute(moved(shard)))
        with statements() as sent:
            while not sent:  # noqa: ASYNC110 - its read is waited for
                await asyncio.sleep(0)
    outcome = changed(await writing)
    # The mark of the lock has gone with the row that had it.
    with statements() as sent:
        await mesh.execute(moved(outcome.shards[0]))
    assert (len(sent), calls(sent)) == (2, (1, 0))


async def test_the_mark_of_a_lock_that_was_given_up_costs_one_look(mesh: Mesh, database_url: str) -> None:
    (shard,) = await shards_of(mesh, 1)
    async with stranger(database_url) as session:
        await session.execute(_SHARD, shard.shard_id)
    assert isinstance(await mesh.execute(moved(shard)), ShardsChanged)


@pytest.mark.parametrize("table", ["namespace_heads", "namespaces"])
async def test_a_locked_namespace_is_named(mesh: Mesh, database_url: str, table: str) -> None:
    await mesh.configure(SEARCH)
    (shard,) = await shards_of(mesh, 1)
    async with stranger(database_url) as session:
        await session.execute(f"SELECT FROM {table} WHERE name = $1 FOR UPDATE", BILLING)
        with pytest.raises(Locked) as refused:
            await mesh.create(new("another"))
        assert refused.value.rows == (BILLING,)
        assert [holder.pid for holder in refused.value.holders] == [session.get_server_pid()]
        # It is known from now on, and others of it do not come under the head.
        with statements() as sent, pytest.raises(Locked):
            await mesh.execute(moved(shard))
        assert calls(sent) == (0, 0)
        await mesh.create(new("elsewhere", namespace=SEARCH))
    await mesh.create(new("another"))


async def test_a_change_of_many_shards_meets_the_lock_once(mesh: Mesh, database_url: str) -> None:
    shards = await shards_of(mesh, 70)
    async with stranger(database_url) as session:
        await session.execute(_SHARD, shards[50].shard_id)
        with statements() as sent, pytest.raises(Locked) as refused:
            await mesh.execute(moved(*shards))
        assert (refused.value.rows, calls(sent)) == (("billing/s50",), (0, 1))
        # What was only beside it is not taken to be locked.
        assert isinstance(await mesh.execute(moved(shards[0])), ShardsChanged)


async def test_a_tombstone_that_is_locked_holds_up_its_creation_alone(mesh: Mesh, database_url: str) -> None:
    (shard,) = await shards_of(mesh, 1)
    await mesh.execute(DeleteShards([as_it_is(shard)], CHANGE))
    async with stranger(database_url) as session:
        await session.execute("SELECT FROM shard_tombstones FOR UPDATE")
        with statements() as sent, pytest.raises(Locked):
            await mesh.create(new("s00"))
        assert calls(sent) == (0, 0)


async def test_more_than_may_wait_for_a_shard_are_refused_at_once(
    mesh: Mesh, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persistence.postgres.row_locks.MOST_OF_A_SHARD", 2)
    (shard,) = await shards_of(mesh, 1)
    async with stranger(database_url) as session:
        await session.execute(_SHARD, shard.shard_id)
        waiting = [asyncio.create_task(mesh.execute(moved(shard))) for _ in range(5)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert {type(task.exception()) for task in done} == {Overloaded}
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Locked"] * 2 + ["Overloaded"] * 3


async def test_more_than_may_wait_in_a_namespace_are_refused_at_once(
    mesh: Mesh, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persistence.postgres.row_locks.MOST_OF_A_NAMESPACE", 2)
    shards = await shards_of(mesh, 3)
    async with stranger(database_url) as session:
        await session.execute("SELECT FROM shards FOR UPDATE")
        tasks = [mesh.execute(moved(shard)) for shard in shards]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Locked", "Locked", "Overloaded"]


async def test_a_lock_that_comes_after_the_read_is_seen_by_the_next_one(mesh: Mesh, database_url: str) -> None:
    shards = await shards_of(mesh, 2)
    keys = [shard.key for shard in shards]
    command = moved(shards[0])
    async with mesh.store.change_group() as group, stranger(database_url) as session:
        state = await group.read(keys)
        assert not state.locked
        decision = decide(command, state, Registry())
        assert isinstance(decision, WriteSet)
        await session.execute(_SHARD, shards[0].shard_id)
        with pytest.raises(RowsLocked):
            await group.commit([(command.reads, decision)])
        assert (await group.read(keys)).locked == {ShardKey(BILLING, "s00")}


async def test_a_group_waits_for_other_writers_no_longer_than_its_limit(mesh: Mesh, database_url: str) -> None:
    (shard,) = await shards_of(mesh, 1)
    command = moved(shard)
    async with stranger(database_url) as session:
        await session.execute("SELECT FROM stream_head FOR UPDATE")
        async with mesh.store.change_group() as group:
            await group.limit(0.05)
            decision = decide(command, await group.read([shard.key]), Registry())
            assert isinstance(decision, WriteSet)
            with pytest.raises(Overloaded), translated():
                await group.commit([(command.reads, decision)])
    async with mesh.store.change_group() as group:
        await group.limit(0.05)
    # The connection has its own limit again.
    async with mesh.store.unit_of_work() as unit:
        connection = unit._connection  # type: ignore[attr-defined] # noqa: SLF001 - what the pool gives next
        found = await connection.exec_driver_sql("SHOW statement_timeout")
        assert found.scalar_one() == "8s"


async def test_a_commit_under_way_is_not_taken_for_a_lock(mesh: Mesh, database_url: str) -> None:
    shards = await shards_of(mesh, 2)
    async with stranger(database_url) as commit, mesh.store.change_group() as group:
        await commit.execute("SELECT FROM stream_head FOR UPDATE")
        await commit.execute("UPDATE stream_head SET revision = revision")
        await commit.execute("UPDATE shards SET status = status WHERE shard_id = 's00'")
        assert not (await group.read([shard.key for shard in shards])).locked


async def test_what_is_refused_anyway_does_not_wait_for_a_lock(mesh: Mesh, database_url: str) -> None:
    (shard,) = await shards_of(mesh, 1)
    async with stranger(database_url) as session:
        await session.execute(_SHARD, shard.shard_id)
        assert isinstance(await mesh.execute(moved(replace(shard, version=7))), VersionConflict)


async def test_a_row_whose_lock_is_over_is_written_while_others_go_on_naming_it(mesh: Mesh, database_url: str) -> None:
    (shard,) = await shards_of(mesh, 1)
    async with stranger(database_url) as session:
        await session.execute(_SHARD, shard.shard_id)
    stale = moved(replace(shard, version=7))

    async def name_it() -> None:
        while True:
            await mesh.execute(stale)

    naming = [asyncio.create_task(name_it()) for _ in range(6)]
    try:
        assert isinstance(await mesh.execute(moved(shard)), ShardsChanged)
    finally:
        for task in naming:
            task.cancel()


async def test_what_went_with_a_locked_row_is_not_taken_for_locked(mesh: Mesh, database_url: str) -> None:
    """The commit that failed has left its mark on the rows that it had got to before."""
    shards = await shards_of(mesh, 20)
    keys = [shard.key for shard in shards]
    async with mesh.store.change_group() as group, stranger(database_url) as session:
        state = await group.read(keys)
        decisions = [(command.reads, decide(command, state, Registry())) for command in map(moved, shards)]
        await session.execute(_SHARD, shards[15].shard_id)
        with pytest.raises(RowsLocked):
            await group.commit([(reads, decision) for reads, decision in decisions if isinstance(decision, WriteSet)])
        assert (await group.read(keys)).locked == {shards[15].key}
