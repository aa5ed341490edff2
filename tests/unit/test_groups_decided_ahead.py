"""Groups of changes that are decided while another one is committed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from persistence.commands.shards import UpdateShards
from persistence.errors import CommitUnknown, Overloaded, StoreUnavailable
from persistence.model.outcomes import ShardsChanged
from persistence.service.group_commit import AHEAD, DIVIDED
from tests.support.group_database import GroupDatabase, create, group_database, settled, under_way
from tests.support.mesh import because, patch


@pytest.fixture
async def database() -> GroupDatabase:
    return await group_database()


async def test_many_that_wait_are_decided_while_others_are_committed(database: GroupDatabase) -> None:
    queue = database.queue()
    first = await under_way(database, queue)
    few = [asyncio.create_task(queue.execute(create(f"n{number}"))) for number in range(AHEAD - 1)]
    await settled()
    assert database.reads == [1]  # they go with what comes until it has ended
    many = [*few, asyncio.create_task(queue.execute(create("last")))]
    await settled()
    assert (database.reads, len(database.groups)) == ([1, AHEAD], 1)
    late = asyncio.create_task(queue.execute(create("late")))
    await settled()
    assert database.held is not None
    database.held.set()
    outcomes = await asyncio.gather(first, *many, late)
    ids = [outcome.change.id for outcome in outcomes if isinstance(outcome, ShardsChanged)]
    assert (len(ids), ids) == (AHEAD + 2, sorted(ids))
    assert [len(group) for group in database.groups] == [1, AHEAD, 1]
    assert database.alone == []


async def test_of_many_at_once_one_half_is_decided_while_the_other_is_committed(database: GroupDatabase) -> None:
    queue = database.queue()
    database.held = asyncio.Event()
    tasks = [asyncio.create_task(queue.execute(create(f"n{number:02}"))) for number in range(DIVIDED)]
    await settled()
    assert (database.reads, len(database.groups)) == ([DIVIDED // 2] * 2, 1)
    database.held.set()
    outcomes = await asyncio.gather(*tasks)
    ids = [outcome.change.id for outcome in outcomes if isinstance(outcome, ShardsChanged)]
    assert (len(ids), ids) == (DIVIDED, sorted(ids))
    assert [len(group) for group in database.groups] == [DIVIDED // 2] * 2


async def test_what_depends_on_what_is_being_committed_is_decided_when_it_has_ended(
    database: GroupDatabase,
) -> None:
    shard, other = await database.mesh.created("s1"), await database.mesh.created("s2")
    queue = database.queue()
    database.held = asyncio.Event()
    first = asyncio.create_task(
        queue.execute(UpdateShards([patch(shard, owner_node_id="node-b")], because("first", idempotency_key="k")))
    )
    await database.entered.wait()
    # Of the shard as the first leaves it; of another one, which the second names as well; and with the first one's key.
    later = replace(shard, version=shard.version + 1)
    dependent = [
        UpdateShards([patch(each, owner_node_id="node-c") for each in (later, other)], because("second")),
        UpdateShards([patch(other, owner_node_id="node-d")], because("third")),
        create("once", idempotency_key="k"),
    ]
    tasks = [asyncio.create_task(queue.execute(command)) for command in dependent]
    tasks += [asyncio.create_task(queue.execute(create(f"n{number}"))) for number in range(AHEAD)]
    await settled()
    assert database.reads == [1, AHEAD]
    # Looking at them again and again would change nothing.
    tasks += [asyncio.create_task(queue.execute(create(name))) for name in "ab"]
    await settled()
    assert database.reads == [1, AHEAD]
    database.held.set()
    await asyncio.gather(first, *tasks)
    assert database.groups == [["first"], [f"n{number}" for number in range(AHEAD)], ["second", "once", "a", "b"]]
    assert sorted(database.alone) == ["once", "third"]  # what has overtaken them is looked up alone


async def test_a_change_that_is_decided_and_whose_turn_does_not_come_in_time_is_refused_and_not_written(
    database: GroupDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = database.queue()
    first = await under_way(database, queue)
    monkeypatch.setattr("persistence.service.group_commit.QUEUE_SECONDS", 0.05)
    late = [asyncio.create_task(queue.execute(create(f"n{number}"))) for number in range(AHEAD)]
    outcomes = await asyncio.gather(*late, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Overloaded}
    assert database.reads == [1, AHEAD]
    assert database.held is not None
    database.held.set()
    assert isinstance(await first, ShardsChanged)
    await settled()
    assert (database.groups, database.alone) == ([["first"]], [])
    assert isinstance(await queue.execute(create("next")), ShardsChanged)


async def test_a_client_that_leaves_when_its_change_is_decided_changes_nothing(database: GroupDatabase) -> None:
    queue = database.queue()
    first = await under_way(database, queue)
    leaving, *staying = [asyncio.create_task(queue.execute(create(f"n{number}"))) for number in range(AHEAD)]
    await settled()
    assert database.reads == [1, AHEAD]
    leaving.cancel()
    await settled()
    assert database.held is not None
    database.held.set()
    await asyncio.gather(first, *staying)
    assert database.groups == [["first"], [f"n{number}" for number in range(1, AHEAD)]]


@pytest.mark.parametrize("cancelled", ["the one that is sent", "the one that is decided"])
async def test_of_two_groups_each_can_be_cancelled_by_itself(database: GroupDatabase, cancelled: str) -> None:
    queue = database.queue()
    first = await under_way(database, queue)
    (sent,) = (task for task in asyncio.all_tasks() if task.get_name() == "omnirelay-group-commit")
    tasks = [asyncio.create_task(queue.execute(create(f"n{number}"))) for number in range(AHEAD)]
    await settled()
    (decided,) = (
        task for task in asyncio.all_tasks() if task.get_name() == "omnirelay-group-commit" and task is not sent
    )
    assert database.held is not None
    if cancelled == "the one that is sent":
        sent.cancel()
        (outcome,) = await asyncio.gather(first, return_exceptions=True)
        assert type(outcome) is CommitUnknown
        database.held.set()
        assert {type(outcome) for outcome in await asyncio.gather(*tasks)} == {ShardsChanged}
    else:
        decided.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
        database.held.set()
        assert isinstance(await first, ShardsChanged)
    assert isinstance(await queue.execute(create("next")), ShardsChanged)


async def test_a_group_that_waited_for_its_turn_has_the_time_that_is_left_then(
    database: GroupDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = database.queue()
    loop = asyncio.get_running_loop()
    now = loop.time
    first = await under_way(database, queue)
    tasks = [asyncio.create_task(queue.execute(create(f"n{number}"))) for number in range(AHEAD)]
    await settled()
    assert (database.reads, database.limits) == ([1, AHEAD], [])
    monkeypatch.setattr(loop, "time", lambda: now() + 5)
    assert database.held is not None
    database.held.set()
    await asyncio.gather(first, *tasks)
    (limit,) = database.limits
    assert 2 < limit <= 3


async def test_what_is_answered_while_the_time_that_is_left_is_set_is_not_written(
    database: GroupDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = database.queue()
    loop = asyncio.get_running_loop()
    now = loop.time
    database.limiting = asyncio.Event()
    first = await under_way(database, queue)
    tasks = [asyncio.create_task(queue.execute(create(f"n{number}"))) for number in range(AHEAD)]
    await settled()
    monkeypatch.setattr(loop, "time", lambda: now() + 5)
    monkeypatch.setattr("persistence.service.group_commit.QUEUE_SECONDS", 60)
    late = asyncio.create_task(queue.execute(create("late")))
    await settled()
    assert database.held is not None
    database.held.set()
    await first
    await settled()
    assert len(database.limits) == 1
    monkeypatch.setattr(loop, "time", lambda: now() + 11)
    outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    database.limiting.set()
    assert isinstance(await late, ShardsChanged)
    assert (database.groups, database.alone) == ([["first"], ["late"]], [])
