"""The queue of group commit: which changes go together, in which order, and what becomes of each when one fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from persistence.commands.command import Command
from persistence.commands.read_state import ReadSet, ReadState
from persistence.commands.shards import CreateShards, DeleteShards, ShardExpectation, UpdateShards
from persistence.commands.write_set import WriteSet
from persistence.errors import CommitUnknown, Overloaded, RowsLocked, StoreError, StoreUnavailable, TransientConflict
from persistence.handlers.dispatch import decide
from persistence.model.outcomes import Committed, NotFound, Outcome, ShardsChanged
from persistence.model.policy import FreezeWindow, NamespacePolicy
from persistence.model.records import ShardKey
from persistence.ports import ChangeGroup
from persistence.service.group_commit import AHEAD, DIVIDED, LARGEST_CHANGE, MOST_CHANGES, MOST_SHARDS, GroupCommit
from strategies.registry import Registry
from tests.reference.store import memory_store
from tests.support.mesh import BILLING, SEARCH, Mesh, as_it_is, because, moment, new, patch


@dataclass
class Database:
    """Groups of a store in memory, each of which waits before it commits until it is let go; then it may fail."""

    mesh: Mesh
    groups: list[list[str]] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)
    noted: list[Outcome] = field(default_factory=list)
    failures: list[Exception | None] = field(default_factory=list)
    answers: list[list[StoreError | None]] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    """How many shards each group has read."""
    locked: set[ShardKey] = field(default_factory=set)
    held: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    fails_at_the_end: bool = False
    """Once a group is committed, when its connection is given back."""

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[ChangeGroup]:
        async with self.mesh.store.change_group() as group:
            yield _Held(self, group)
        if self.fails_at_the_end:
            raise StoreUnavailable("gone")

    async def execute_alone(self, command: Command) -> Outcome:
        self.alone.append(command.change.reason)
        return NotFound(namespaces=(command.change.reason,))

    def queue(self) -> GroupCommit:
        return GroupCommit(self, Registry(), self.execute_alone, self.noted.append)


@dataclass
class _Held:
    database: Database
    group: ChangeGroup

    async def limit(self, seconds: float) -> None:
        self.database.limits.append(seconds)

    async def read(self, shards: Sequence[ShardKey], node_ids: Collection[str] = ()) -> ReadState:
        self.database.reads.append(len(shards))
        state = await self.group.read(shards, node_ids)
        return replace(state, locked=frozenset(self.database.locked))

    async def commit(self, changes: Sequence[tuple[ReadSet, WriteSet]]) -> Sequence[Committed | StoreError]:
        database = self.database
        database.groups.append([write_set.request.reason for _, write_set in changes])
        database.entered.set()
        if database.held is not None:
            await database.held.wait()
        if database.failures and (failure := database.failures.pop(0)) is not None:
            raise failure
        given = await self.group.commit(changes)
        instead = database.answers.pop(0) if database.answers else [None] * len(given)
        return [other or answer for other, answer in zip(instead, given, strict=True)]


@pytest.fixture
async def database() -> Database:
    mesh = Mesh(memory_store())
    await mesh.configure()
    await mesh.configure(SEARCH)
    return Database(mesh)


def create(name: str, **change: Any) -> Command:
    return CreateShards([new(name)], because(name, **change))


async def settled() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def under_way(database: Database, queue: GroupCommit) -> asyncio.Task[Outcome]:
    """A change that is being committed until `held` is set."""
    database.held = asyncio.Event()
    first = asyncio.create_task(queue.execute(create("first")))
    await database.entered.wait()
    return first


async def test_a_change_does_not_wait_for_others(database: Database) -> None:
    outcome = await database.queue().execute(create("a"))
    assert isinstance(outcome, ShardsChanged)
    assert (database.groups, database.noted) == ([["a"]], [outcome])


async def test_what_arrives_meanwhile_goes_together_in_its_order(database: Database) -> None:
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


async def test_a_group_is_bounded_in_changes_and_in_shards(database: Database) -> None:
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


async def test_many_that_wait_are_decided_while_others_are_committed(database: Database) -> None:
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


async def test_of_many_at_once_one_half_is_decided_while_the_other_is_committed(database: Database) -> None:
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


async def test_what_depends_on_what_is_being_committed_is_not_decided_before_it_has_ended(database: Database) -> None:
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
    database: Database, monkeypatch: pytest.MonkeyPatch
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


async def test_a_client_that_leaves_when_its_change_is_decided_changes_nothing(database: Database) -> None:
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
async def test_of_two_groups_each_can_be_cancelled_by_itself(database: Database, cancelled: str) -> None:
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
    database: Database, monkeypatch: pytest.MonkeyPatch
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


async def test_what_is_large_or_no_change_of_shards_goes_alone(database: Database) -> None:
    queue = database.queue()
    large = CreateShards([new(f"l{place}") for place in range(LARGEST_CHANGE + 1)], because("large"))
    await queue.execute(large)
    assert (database.groups, database.alone) == ([], ["large"])


async def test_a_refusal_is_decided_alone_and_the_others_are_written(database: Database) -> None:
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


async def test_of_two_for_one_shard_the_second_is_decided_on_what_the_first_has_left(database: Database) -> None:
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


async def test_one_idempotency_key_is_not_twice_in_a_group(database: Database) -> None:
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


async def test_what_relies_on_the_size_of_a_namespace_is_not_with_what_shrinks_it(database: Database) -> None:
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


async def test_what_a_policy_judges_by_the_time_goes_alone(database: Database) -> None:
    mesh = database.mesh
    shard = await mesh.created("s1", namespace=SEARCH)
    begins = moment((await mesh.changes())[-1]).time
    assert begins is not None
    freeze = FreezeWindow(begins.replace(year=begins.year + 1), begins.replace(year=begins.year + 2), "audit")
    await mesh.configure(SEARCH, expected=1, policy=NamespacePolicy(freezes=(freeze,)))
    await database.queue().execute(UpdateShards([patch(shard, owner_node_id="node-b")], because("later frozen")))
    assert database.alone == ["later frozen"]


@pytest.mark.parametrize("failure", [TransientConflict("deadlock"), StoreUnavailable("gone"), ZeroDivisionError()])
async def test_when_a_group_fails_and_nothing_was_written_each_is_executed_alone(
    database: Database, failure: Exception, caplog: pytest.LogCaptureFixture
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


async def test_what_may_have_been_committed_is_not_tried_again(database: Database) -> None:
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


async def test_what_was_committed_is_answered_though_its_connection_is_lost_then(database: Database) -> None:
    database.fails_at_the_end = True
    outcome = await database.queue().execute(create("a"))
    assert isinstance(outcome, ShardsChanged)
    assert (database.alone, database.noted) == ([], [outcome])


async def test_nothing_is_executed_again_after_a_commit_that_was_cancelled(database: Database) -> None:
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


async def test_a_note_that_cannot_be_taken_fails_its_own_change_alone(database: Database) -> None:
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


async def test_other_tasks_run_between_the_decisions_of_a_group_of_large_changes(
    database: Database, monkeypatch: pytest.MonkeyPatch
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
    counter = asyncio.create_task(count())
    many = [
        CreateShards([new(f"l{number}-{place}") for place in range(LARGEST_CHANGE)], because("large"))
        for number in range(MOST_SHARDS // LARGEST_CHANGE)
    ]
    tasks = [asyncio.create_task(queue.execute(command)) for command in many]
    await settled()
    assert database.held is not None
    database.held.set()
    await asyncio.gather(first, *tasks)
    counter.cancel()
    assert database.groups == [["first"], ["large"] * len(many)]
    assert max(decided.values()) == LARGEST_CHANGE


async def test_of_a_group_only_what_conflicts_is_executed_alone(database: Database) -> None:
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


async def test_a_client_that_leaves_before_its_change_is_taken_changes_nothing(database: Database) -> None:
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


async def test_a_client_that_leaves_later_leaves_the_others_alone(database: Database) -> None:
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


async def test_a_group_that_met_a_locked_row_goes_once_more_without_it(database: Database) -> None:
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


async def test_a_group_that_meets_a_locked_row_twice_is_executed_one_by_one(database: Database) -> None:
    database.failures = [RowsLocked(), RowsLocked()]
    await database.queue().execute(create("a"))
    assert (database.groups, database.alone) == ([["a"], ["a"]], ["a"])


async def test_a_change_whose_group_does_not_begin_in_its_time_is_refused_and_not_written(
    database: Database, monkeypatch: pytest.MonkeyPatch
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
    database: Database, monkeypatch: pytest.MonkeyPatch
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
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("QUEUE_SECONDS", "ANSWER_SECONDS"):
        monkeypatch.setattr(f"persistence.service.group_commit.{name}", 0.01)
    queue = database.queue()
    reading, go_on = asyncio.Event(), asyncio.Event()
    read = _Held.read

    async def slowly(self: _Held, shards: Sequence[ShardKey], node_ids: Collection[str] = ()) -> ReadState:
        reading.set()
        await go_on.wait()
        return await read(self, shards, node_ids)

    monkeypatch.setattr(_Held, "read", slowly)
    with pytest.raises(StoreUnavailable):
        await queue.execute(create("late"))
    assert reading.is_set()
    go_on.set()
    await settled()
    assert (database.groups, database.alone) == ([], [])


async def test_a_group_has_the_time_that_its_oldest_change_has_left(
    database: Database, monkeypatch: pytest.MonkeyPatch
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
    database: Database, monkeypatch: pytest.MonkeyPatch
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
    database: Database, monkeypatch: pytest.MonkeyPatch
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
    database: Database, monkeypatch: pytest.MonkeyPatch, failure: StoreError
) -> None:
    async def read(*_: object) -> ReadState:
        raise failure

    monkeypatch.setattr(_Held, "read", read)
    queue = database.queue()
    outcomes = await asyncio.gather(*(queue.execute(create(name)) for name in "ab"), return_exceptions=True)
    if isinstance(failure, StoreUnavailable):
        assert (outcomes, database.alone) == ([failure, failure], [])
    else:
        assert database.alone == ["a", "b"]


async def test_changes_whose_clients_have_all_left_begin_no_group(
    database: Database, caplog: pytest.LogCaptureFixture
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
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = asyncio.Event()

    async def read(*_: object) -> ReadState:
        reading.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(_Held, "read", read)
    change = asyncio.create_task(database.queue().execute(create("a")))
    await reading.wait()
    (committing,) = (task for task in asyncio.all_tasks() if task.get_name() == "omnirelay-group-commit")
    committing.cancel()
    (outcome,) = await asyncio.gather(change, return_exceptions=True)
    assert type(outcome) is StoreUnavailable


async def test_what_was_committed_is_answered_though_its_span_cannot_be_ended(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def broken(*_: object) -> Iterator[None]:
        yield
        raise ZeroDivisionError

    monkeypatch.setattr(GroupCommit, "_commit_spans", broken)
    assert isinstance(await database.queue().execute(create("a")), ShardsChanged)
    assert database.alone == []
