"""What becomes of each change where its group fails, meets locked rows, or runs out of time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import pytest

from persistence.commands.read_state import ReadState
from persistence.commands.shards import UpdateShards
from persistence.errors import CommitUnknown, Overloaded, RowsLocked, StoreError, StoreUnavailable, TransientConflict
from persistence.model.outcomes import NotFound, Outcome, ShardsChanged
from persistence.model.records import ShardKey
from persistence.service.group_commit import GroupCommit
from strategies.registry import Registry
from tests.support.group_database import GroupDatabase, HeldGroup, create, group_database, settled, under_way
from tests.support.mesh import BILLING, because, patch


@pytest.fixture
async def database() -> GroupDatabase:
    return await group_database()


@pytest.mark.parametrize("failure", [TransientConflict("deadlock"), StoreUnavailable("gone"), ZeroDivisionError()])
async def test_when_a_group_fails_and_nothing_was_written_each_is_executed_alone(
    database: GroupDatabase, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    queue = database.queue()
    database.failures = [None, failure]
    first = await under_way(database, queue)
    tasks = [asyncio.create_task(queue.execute(create(name))) for name in "ab"]
    await settled()
    assert database.held is not None
    database.held.set()
    await asyncio.gather(first, *tasks)
    assert database.alone == ["a", "b"]
    assert isinstance(await queue.execute(create("c")), ShardsChanged)
    assert len(caplog.records) == isinstance(failure, ZeroDivisionError)


async def test_what_may_have_been_committed_is_not_tried_again(database: GroupDatabase) -> None:
    failure = CommitUnknown("no answer")
    queue = database.queue()
    database.failures = [None, failure]
    shard = await database.mesh.created("s1")
    first = await under_way(database, queue)
    rivals = [UpdateShards([patch(shard, owner_node_id=node)], because(node)) for node in ("node-b", "node-c")]
    tasks = [asyncio.create_task(queue.execute(command)) for command in (create("a"), *rivals)]
    await settled()
    assert database.held is not None
    database.held.set()
    outcomes = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert outcomes[1:3] == [failure, failure]
    # The second for the shard was not in that group.
    assert isinstance(outcomes[3], ShardsChanged)
    assert database.alone == []


async def test_what_was_committed_is_answered_though_its_connection_is_lost_then(database: GroupDatabase) -> None:
    database.fails_at_the_end = True
    outcome = await database.queue().execute(create("a"))
    assert isinstance(outcome, ShardsChanged)
    assert (database.alone, database.noted) == ([], [outcome])


async def test_nothing_is_executed_again_after_a_commit_that_was_cancelled(database: GroupDatabase) -> None:
    queue = database.queue()
    first = await under_way(database, queue)
    later = asyncio.create_task(queue.execute(create("a")))
    await settled()
    (committing,) = (task for task in asyncio.all_tasks() if task.get_name() == "omnirelay-group-commit")
    committing.cancel()
    outcomes = await asyncio.wait_for(asyncio.gather(first, later, return_exceptions=True), timeout=10)
    assert [type(outcome) for outcome in outcomes] == [CommitUnknown, StoreUnavailable]
    assert database.alone == []
    database.held = None
    assert isinstance(await queue.execute(create("b")), ShardsChanged)


async def test_a_note_that_cannot_be_taken_fails_its_own_change_alone(database: GroupDatabase) -> None:
    def note(outcome: Outcome) -> None:
        if isinstance(outcome, ShardsChanged) and outcome.change.reason == "a":
            raise ZeroDivisionError
        database.noted.append(outcome)

    queue = GroupCommit(database, Registry(), database.execute_alone, note)
    first = await under_way(database, queue)
    tasks = [asyncio.create_task(queue.execute(create(name))) for name in "abc"]
    await settled()
    assert database.held is not None
    database.held.set()
    outcomes = await asyncio.wait_for(asyncio.gather(first, *tasks, return_exceptions=True), timeout=10)
    assert [type(outcome) for outcome in outcomes] == [ShardsChanged, ZeroDivisionError, ShardsChanged, ShardsChanged]
    assert database.alone == []
    assert isinstance(await queue.execute(create("d")), ShardsChanged)


async def test_of_a_group_only_what_conflicts_is_executed_alone(database: GroupDatabase) -> None:
    queue = database.queue()
    first = await under_way(database, queue)
    tasks = [asyncio.create_task(queue.execute(create(name))) for name in "abc"]
    await settled()
    assert database.held is not None
    database.answers = [[None], [None, TransientConflict("overtaken"), StoreError("the schema is another")]]
    database.held.set()
    await first
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ShardsChanged, NotFound, StoreError]
    assert database.alone == ["b"]


async def test_a_group_that_met_a_locked_row_goes_once_more_without_it(database: GroupDatabase) -> None:
    queue = database.queue()
    first = await under_way(database, queue)
    others = [asyncio.create_task(queue.execute(create(name))) for name in "abc"]
    await settled()
    database.locked = {ShardKey(BILLING, "b")}
    database.failures = [None, RowsLocked(), None]
    assert database.held is not None
    database.held.set()
    outcomes = await asyncio.gather(first, *others)
    assert database.groups == [["first"], ["a", "c"], ["a", "c"]]
    assert database.alone == ["b"]
    assert [type(outcome) for outcome in outcomes] == [ShardsChanged, ShardsChanged, NotFound, ShardsChanged]


async def test_a_group_that_meets_a_locked_row_twice_is_executed_one_by_one(database: GroupDatabase) -> None:
    database.failures = [RowsLocked(), RowsLocked()]
    await database.queue().execute(create("a"))
    assert (database.groups, database.alone) == ([["a"], ["a"]], ["a"])


async def test_a_change_whose_group_does_not_begin_in_its_time_is_refused_and_not_written(
    database: GroupDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = database.queue()
    first = await under_way(database, queue)
    monkeypatch.setattr("persistence.service.group_commit.QUEUE_SECONDS", 0.01)
    with pytest.raises(Overloaded):
        await queue.execute(create("late"))
    assert database.held is not None
    assert not first.done()
    database.held.set()
    assert isinstance(await first, ShardsChanged)
    await settled()
    assert (database.groups, database.alone) == ([["first"]], [])
    assert await database.mesh.shard("late") is None


async def test_a_change_that_was_sent_and_not_answered_in_its_time_is_unknown(
    database: GroupDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("QUEUE_SECONDS", "ANSWER_SECONDS"):
        monkeypatch.setattr(f"persistence.service.group_commit.{name}", 0.01)
    queue = database.queue()
    database.held = asyncio.Event()
    with pytest.raises(CommitUnknown):
        await queue.execute(create("first"))
    database.held.set()
    monkeypatch.undo()
    # Those that came meanwhile are not affected, and it was made.
    assert isinstance(await queue.execute(create("next")), ShardsChanged)
    assert await database.mesh.shard("first") is not None


async def test_a_change_that_runs_out_of_time_while_its_group_is_read_is_not_written(
    database: GroupDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("QUEUE_SECONDS", "ANSWER_SECONDS"):
        monkeypatch.setattr(f"persistence.service.group_commit.{name}", 0.01)
    queue = database.queue()
    reading, go_on = asyncio.Event(), asyncio.Event()
    read = HeldGroup.read

    async def slowly(self: HeldGroup, shards: Sequence[ShardKey], node_ids: Collection[str] = ()) -> ReadState:
        reading.set()
        await go_on.wait()
        return await read(self, shards, node_ids)

    monkeypatch.setattr(HeldGroup, "read", slowly)
    with pytest.raises(StoreUnavailable):
        await queue.execute(create("late"))
    assert reading.is_set()
    go_on.set()
    await settled()
    assert (database.groups, database.alone) == ([], [])


async def test_a_group_has_the_time_that_its_oldest_change_has_left(
    database: GroupDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = database.queue()
    loop = asyncio.get_running_loop()
    now = loop.time
    first = await under_way(database, queue)
    second = asyncio.create_task(queue.execute(create("second")))
    await settled()
    assert database.limits == []
    monkeypatch.setattr(loop, "time", lambda: now() + 5)
    assert database.held is not None
    database.held.set()
    await asyncio.gather(first, second)
    (limit,) = database.limits
    assert 2 < limit <= 3


async def test_of_a_group_that_waited_in_vain_those_that_came_later_have_another(
    database: GroupDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = database.queue()
    loop = asyncio.get_running_loop()
    now, later = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: now() + later)
    first = await under_way(database, queue)
    tasks = [asyncio.create_task(queue.execute(create("oldest")))]
    await settled()
    later = 5.0
    tasks += [asyncio.create_task(queue.execute(create(name))) for name in "ab"]
    await settled()
    failure = Overloaded("the head is held")
    database.failures = [None, failure]
    assert database.held is not None
    database.held.set()
    outcomes = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert outcomes[1] is failure
    assert [type(outcome) for outcome in outcomes[2:]] == [ShardsChanged] * 2
    assert database.groups == [["first"], ["oldest", "a", "b"], ["a", "b"]]
    (limit,) = database.limits  # the second of them has all of its time
    assert 2 < limit <= 3


async def test_those_that_waited_as_long_as_the_oldest_have_no_other_group(
    database: GroupDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = database.queue()
    loop = asyncio.get_running_loop()
    now, later = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: now() + later)
    first = await under_way(database, queue)
    tasks = [asyncio.create_task(queue.execute(create(name))) for name in "ab"]
    await settled()
    failure = Overloaded("the head is held")
    database.failures = [None, failure]
    later = 7.5
    assert database.held is not None
    database.held.set()
    outcomes = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert outcomes[1:] == [failure, failure]
    assert (database.groups, database.alone) == ([["first"], ["a", "b"]], [])


@pytest.mark.parametrize("failure", [StoreUnavailable("gone"), TransientConflict("lost before anything was sent")])
async def test_where_the_database_cannot_be_read_none_is_tried_alone_but_what_may_succeed(
    database: GroupDatabase, monkeypatch: pytest.MonkeyPatch, failure: StoreError
) -> None:
    async def read(*_: object) -> ReadState:
        raise failure

    monkeypatch.setattr(HeldGroup, "read", read)
    queue = database.queue()
    outcomes = await asyncio.gather(*(queue.execute(create(name)) for name in "ab"), return_exceptions=True)
    if isinstance(failure, StoreUnavailable):
        assert (outcomes, database.alone) == ([failure, failure], [])
    else:
        assert database.alone == ["a", "b"]


async def test_changes_whose_clients_have_all_left_begin_no_group(
    database: GroupDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    queue = database.queue()
    first = await under_way(database, queue)
    leaving = asyncio.create_task(queue.execute(create("a")))
    await settled()
    leaving.cancel()
    await settled()
    assert database.held is not None
    database.held.set()
    await first
    await settled()
    assert (database.groups, caplog.records) == ([["first"]], [])


async def test_a_change_that_is_cancelled_before_it_was_sent_is_not_unknown(
    database: GroupDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = asyncio.Event()

    async def read(*_: object) -> ReadState:
        reading.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(HeldGroup, "read", read)
    change = asyncio.create_task(database.queue().execute(create("a")))
    await reading.wait()
    (committing,) = (task for task in asyncio.all_tasks() if task.get_name() == "omnirelay-group-commit")
    committing.cancel()
    (outcome,) = await asyncio.gather(change, return_exceptions=True)
    assert type(outcome) is StoreUnavailable


async def test_what_was_committed_is_answered_though_its_span_cannot_be_ended(
    database: GroupDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def broken(*_: object) -> Iterator[None]:
        yield
        raise ZeroDivisionError

    monkeypatch.setattr(GroupCommit, "_commit_spans", broken)
    assert isinstance(await database.queue().execute(create("a")), ShardsChanged)
    assert database.alone == []
