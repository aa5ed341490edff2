"""Group commit on PostgreSQL: what it sends, what stops all of a group, and what stops one member alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, NoReturn

import asyncpg
import pytest

from persistence.commands.command import Command
from persistence.commands.shards import CreateShards, UpdateShards
from persistence.commands.write_set import WriteSet
from persistence.errors import CommitUnknown, Fenced, Locked, SchemaOutOfDate
from persistence.handlers.dispatch import decide
from persistence.model.outcomes import Outcome, ShardsChanged
from persistence.model.records import Shard
from persistence.postgres.audit.verify import verify
from persistence.postgres.store import open_store
from strategies.registry import Registry
from tests.support.mesh import CHANGE, Mesh, because, changed, new, patch
from tests.support.sql import fetch
from tests.support.statements import statements

_TERMINATE: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%FROM commit_changes(%'
"""


@pytest.fixture
async def mesh(database_url: str) -> AsyncIterator[Mesh]:
    async with open_store(database_url) as store:
        mesh = Mesh(store)
        await mesh.configure()
        yield mesh


async def shards_of(mesh: Mesh, count: int) -> list[Shard]:
    return list(changed(await mesh.execute(CreateShards([new(f"s{n:02}") for n in range(count)], CHANGE))).shards)


def moved(shard: Shard, node: str) -> Command:
    return UpdateShards([patch(shard, owner_node_id=node)], because(node))


async def at_once(mesh: Mesh, *commands: Command) -> list[Outcome]:
    return await asyncio.gather(*map(mesh.execute, commands))


@pytest.mark.parametrize("change", [CHANGE, because("once", idempotency_key="k")], ids=["plain", "with a key"])
async def test_a_change_takes_two_statements(mesh: Mesh, change: object) -> None:
    (shard,) = await shards_of(mesh, 1)
    command = UpdateShards([patch(shard, owner_node_id="node-b")], change)  # type: ignore[arg-type]
    with statements() as sent:
        assert isinstance(await mesh.execute(command), ShardsChanged)
    assert ["FROM commit_changes(" in one for one in sent] == [False, True]


async def test_many_changes_take_two_statements_as_well(mesh: Mesh) -> None:
    first, *others = await shards_of(mesh, 20)
    with statements() as sent:
        outcomes = await at_once(mesh, moved(first, "node-b"), *(moved(shard, "node-c") for shard in others))
    assert {type(outcome) for outcome in outcomes} == {ShardsChanged}
    # Those that came at the same time are one group.
    assert ["FROM commit_changes(" in one for one in sent] == [False, True]


async def test_what_is_said_of_changes_that_go_together_is_stored_as_it_is(mesh: Mesh, database_url: str) -> None:
    """The call has it as texts with a character between the changes, and one that is empty stands for none."""
    shards = await shards_of(mesh, 4)
    changes = [
        because("two\nlines\tand more", change_ticket="CHG-1", metadata={"why": "a\x1fb\n", "empty": ""}),
        because("'quoted', \\x00 {} NULL", actor='ops, "night"', idempotency_key="a\x1fb\nc"),
        because("plain", forced="on\ntwo lines", idempotency_key='"'),
        because("\u00fc\U0001f600", metadata=""),
    ]
    commands = [
        UpdateShards([patch(shard, owner_node_id="node-b")], change)
        for shard, change in zip(shards, changes, strict=True)
    ]
    with statements() as sent:
        outcomes = [changed(outcome) for outcome in await at_once(mesh, *commands)]
    assert len(sent) == 2
    stored = (await mesh.changes())[-4:]
    assert [outcome.change for outcome in outcomes] == stored
    assert [(each.reason, each.actor, each.change_ticket, each.metadata, each.forced) for each in stored] == [
        (each.reason, each.actor, each.change_ticket, each.metadata, each.forced) for each in changes
    ]
    again = await at_once(mesh, commands[1], commands[2])
    assert [changed(outcome).replayed for outcome in again] == [True, True]
    assert (await verify(database_url)).findings.count == 0


async def test_the_audit_log_verifies(mesh: Mesh, database_url: str) -> None:
    shards = await shards_of(mesh, 30)
    for node in ("node-b", "node-c"):
        outcomes = await at_once(mesh, *(moved(shard, node) for shard in shards))
        shards = [changed(outcome).shards[0] for outcome in outcomes]
    verdict = await verify(database_url)
    assert verdict.findings.count == 0
    assert (verdict.changes, verdict.rows) == (len(await mesh.changes()), len(await mesh.history()))


async def test_a_row_that_another_session_has_locked_stops_its_own_change_alone(mesh: Mesh, database_url: str) -> None:
    locked, *others = await shards_of(mesh, 6)
    holder = await asyncpg.connect(database_url)
    try:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SELECT FROM shards WHERE shard_id = $1 FOR UPDATE", locked.shard_id)
        waiting = asyncio.create_task(mesh.execute(moved(locked, "node-b")))
        outcomes = await at_once(mesh, *(moved(shard, "node-c") for shard in others))
        assert {type(outcome) for outcome in outcomes} == {ShardsChanged}
        with pytest.raises(Locked):
            await waiting
        waiting = asyncio.create_task(mesh.execute(moved(locked, "node-b")))
        await transaction.rollback()
        assert isinstance(await waiting, ShardsChanged)
    finally:
        await holder.close()


async def test_what_was_committed_and_cannot_be_answered_is_not_executed_again(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise ZeroDivisionError

    (shard,) = await shards_of(mesh, 1)
    monkeypatch.setattr("persistence.postgres.group_commit.answer", fail)
    with pytest.raises(CommitUnknown):
        await mesh.execute(moved(shard, "node-b"))
    assert [change.reason for change in (await mesh.changes())[-2:]] == [CHANGE.reason, "node-b"]


async def test_a_commit_that_the_server_ends_unanswered_is_unknown_to_each(mesh: Mesh, database_url: str) -> None:
    shards = await shards_of(mesh, 3)
    holder = await asyncpg.connect(database_url)
    try:
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("SELECT FROM stream_head FOR UPDATE")
        tasks = [asyncio.create_task(mesh.execute(moved(shard, "node-b"))) for shard in shards]
        async with asyncio.timeout(20):
            while not await fetch(database_url, _TERMINATE):  # noqa: ASYNC110 - PostgreSQL is waited for
                await asyncio.sleep(0)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await holder.close()
    assert [type(outcome) for outcome in outcomes] == [CommitUnknown] * 3
    assert len(await mesh.changes()) == 2
    again = await at_once(mesh, *(moved(shard, "node-b") for shard in shards))
    assert {type(outcome) for outcome in again} == {ShardsChanged}


@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("UPDATE stream_head SET compatible_revisions = '{9999}'", SchemaOutOfDate),
        ("UPDATE stream_head SET timeline = 1000", Fenced),
    ],
)
async def test_a_program_that_may_not_write_writes_nothing_of_a_group(
    mesh: Mesh, database_url: str, statement: str, refused: type[Exception]
) -> None:
    shards = await shards_of(mesh, 2)
    head = await mesh.store.stream.head()
    async with mesh.store.change_group() as group:
        commands = [moved(shard, "node-b") for shard in shards]
        state = await group.read([shard.key for shard in shards])
        decisions = [decide(command, state, Registry()) for command in commands]
        await fetch(database_url, statement)
        changes = [(c.reads, d) for c, d in zip(commands, decisions, strict=True) if isinstance(d, WriteSet)]
        assert [type(answer) for answer in await group.commit(changes)] == [refused, refused]
    await fetch(database_url, "UPDATE stream_head SET timeline = 1, compatible_revisions = '{0010}'")
    assert await mesh.store.stream.head() == head
