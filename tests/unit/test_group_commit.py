"""The queue of group commit: which changes go together, in which order, and what a refusal is to the others."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from persistence.commands.shards import CreateShards, DeleteShards, ShardExpectation, UpdateShards
from persistence.handlers.dispatch import decide
from persistence.model.outcomes import NotFound, ShardsChanged
from persistence.model.policy import FreezeWindow, NamespacePolicy
from persistence.service.group_commit import LARGEST_CHANGE, MOST_CHANGES, MOST_SHARDS
from tests.support.group_database import GroupDatabase, create, group_database, settled, under_way
from tests.support.mesh import SEARCH, as_it_is, because, moment, new, patch


@pytest.fixture
async def database() -> GroupDatabase:
    return await group_database()


async def test_a_change_does_not_wait_for_others(database: GroupDatabase) -> None:
    outcome = await database.queue().execute(create("a"))
    assert isinstance(outcome, ShardsChanged)
    assert (database.groups, database.noted) == ([["a"]], [outcome])


async def test_what_arrives_meanwhile_goes_together_in_its_order(database: GroupDatabase) -> None:
    queue = database.queue()
    first = await under_way(database, queue)
    others = [asyncio.create_task(queue.execute(create(name))) for name in "abc"]
    await settled()
    assert database.groups == [["first"]]
    assert database.held is not None
    database.held.set()
    outcomes = await asyncio.gather(first, *others)
    assert database.groups == [["first"], ["a", "b", "c"]]
    ids = [outcome.change.id for outcome in outcomes if isinstance(outcome, ShardsChanged)]
    assert ids == sorted(ids)
    assert len(ids) == 4


async def test_a_group_is_bounded_in_changes_and_in_shards(database: GroupDatabase) -> None:
    queue = database.queue()
    first = await under_way(database, queue)
    many = [asyncio.create_task(queue.execute(create(f"n{number}"))) for number in range(MOST_CHANGES + 1)]
    large = [
        CreateShards([new(f"l{number}-{place}") for place in range(LARGEST_CHANGE)], because("large"))
        for number in range(MOST_SHARDS // LARGEST_CHANGE + 1)
    ]
    many += [asyncio.create_task(queue.execute(command)) for command in large]
    await settled()
    assert database.held is not None
    database.held.set()
    await asyncio.gather(first, *many)
    sizes = [len(group) for group in database.groups]
    assert sizes == [1, MOST_CHANGES, 1 + (MOST_SHARDS - 1) // LARGEST_CHANGE, 2]
    assert database.alone == []


async def test_what_is_large_or_no_change_of_shards_goes_alone(database: GroupDatabase) -> None:
    queue = database.queue()
    large = CreateShards([new(f"l{place}") for place in range(LARGEST_CHANGE + 1)], because("large"))
    await queue.execute(large)
    assert (database.groups, database.alone) == ([], ["large"])


async def test_a_refusal_is_decided_alone_and_the_others_are_written(database: GroupDatabase) -> None:
    shard = await database.mesh.created("s1")
    queue = database.queue()
    stale = UpdateShards([patch(shard, owner_node_id="node-b")], because("stale"))
    await database.mesh.update(patch(shard, owner_node_id="node-c"))
    absent = DeleteShards([ShardExpectation("absent", "s", 1)], because("absent"))
    first = await under_way(database, queue)
    others = [asyncio.create_task(queue.execute(command)) for command in (create("a"), stale, absent, create("b"))]
    await settled()
    assert database.held is not None
    database.held.set()
    await asyncio.gather(first, *others)
    assert database.groups == [["first"], ["a", "b"]]
    assert sorted(database.alone) == ["absent", "stale"]


async def test_of_two_for_one_shard_the_second_is_decided_on_what_the_first_has_left(database: GroupDatabase) -> None:
    shard = await database.mesh.created("s1")
    queue = database.queue()
    first = await under_way(database, queue)
    rivals = [UpdateShards([patch(shard, owner_node_id=node)], because(node)) for node in ("node-b", "node-c")]
    tasks = [asyncio.create_task(queue.execute(command)) for command in (*rivals, create("a"))]
    await settled()
    assert database.held is not None
    database.held.set()
    won, lost, _ = await asyncio.gather(*tasks)
    await first
    assert isinstance(won, ShardsChanged)
    assert lost == NotFound(namespaces=("node-c",))  # executed alone, after the first: there it is a conflict
    assert database.groups == [["first"], ["node-b", "a"]]
    assert database.alone == ["node-c"]


async def test_one_idempotency_key_is_not_twice_in_a_group(database: GroupDatabase) -> None:
    queue = database.queue()
    first = await under_way(database, queue)
    keyed = [create(name, idempotency_key="k", actor=actor) for name, actor in (("a", "x"), ("b", "x"), ("c", "y"))]
    tasks = [asyncio.create_task(queue.execute(command)) for command in keyed]
    await settled()
    assert database.held is not None
    database.held.set()
    await asyncio.gather(first, *tasks)
    assert database.groups == [["first"], ["a", "c"], ["b"]]
    assert database.alone == ["b"]  # its key has made a change meanwhile: what that was is looked up alone


async def test_what_relies_on_the_size_of_a_namespace_is_not_with_what_shrinks_it(database: GroupDatabase) -> None:
    mesh = database.mesh
    await mesh.configure(SEARCH, expected=1, policy=NamespacePolicy(move_budget_percent=50))
    shards = [await mesh.created(f"s{number}", namespace=SEARCH) for number in range(4)]
    queue = database.queue()
    first = await under_way(database, queue)
    tasks = [
        asyncio.create_task(queue.execute(command))
        for command in (
            UpdateShards([patch(shard, owner_node_id="node-b") for shard in shards[:2]], because("moves")),
            DeleteShards([as_it_is(shards[2])], because("shrinks")),
            DeleteShards([as_it_is(shards[3])], because("shrinks too")),
            create("elsewhere"),
        )
    ]
    await settled()
    assert database.held is not None
    database.held.set()
    await asyncio.gather(first, *tasks)
    assert database.groups == [["first"], ["moves", "elsewhere"], ["shrinks", "shrinks too"]]


async def test_what_a_policy_judges_by_the_time_goes_alone(database: GroupDatabase) -> None:
    mesh = database.mesh
    shard = await mesh.created("s1", namespace=SEARCH)
    begins = moment((await mesh.changes())[-1]).time
    assert begins is not None
    freeze = FreezeWindow(begins.replace(year=begins.year + 1), begins.replace(year=begins.year + 2), "audit")
    await mesh.configure(SEARCH, expected=1, policy=NamespacePolicy(freezes=(freeze,)))
    await database.queue().execute(UpdateShards([patch(shard, owner_node_id="node-b")], because("later frozen")))
    assert database.alone == ["later frozen"]


async def test_other_tasks_run_between_the_decisions_of_a_group_of_large_changes(
    database: GroupDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, decided = 0, Counter[int]()

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def counting(command: Any, *arguments: Any) -> Any:
        decided[turns] += len(command.shards)
        return decide(command, *arguments)

    monkeypatch.setattr("persistence.service.group_commit.decide", counting)
    queue = database.queue()
    first = await under_way(database, queue)
    many = [
        CreateShards([new(f"l{number}-{place}") for place in range(LARGEST_CHANGE)], because("large"))
        for number in range(MOST_SHARDS // LARGEST_CHANGE)
    ]
    counter = asyncio.create_task(count())
    tasks = [asyncio.create_task(queue.execute(command)) for command in many]
    await settled()
    assert database.held is not None
    database.held.set()
    await asyncio.gather(first, *tasks)
    counter.cancel()
    assert database.groups == [["first"], ["large"] * len(many)]
    assert max(decided.values()) == LARGEST_CHANGE


async def test_a_client_that_leaves_before_its_change_is_taken_changes_nothing(database: GroupDatabase) -> None:
    queue = database.queue()
    first = await under_way(database, queue)
    leaving = asyncio.create_task(queue.execute(create("a")))
    staying = asyncio.create_task(queue.execute(create("b")))
    await settled()
    leaving.cancel()
    await settled()
    assert database.held is not None
    database.held.set()
    await asyncio.gather(first, staying)
    assert database.groups == [["first"], ["b"]]


async def test_a_client_that_leaves_later_leaves_the_others_alone(database: GroupDatabase) -> None:
    queue = database.queue()
    first = await under_way(database, queue)
    first.cancel()
    await settled()
    other = asyncio.create_task(queue.execute(create("b")))
    assert database.held is not None
    database.held.set()
    assert isinstance(await other, ShardsChanged)
    assert [change.reason for change in (await database.mesh.changes())[-2:]] == ["first", "b"]
    assert len(database.noted) == 2
