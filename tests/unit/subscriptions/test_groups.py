"""Subscribers of one process: what they share, and that none of them delays another or loses anything by it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.execution.metrics import Metrics
from graph.subscriptions import groups as groups_module
from graph.subscriptions.groups import MAX_PAYLOAD_BYTES, Message, Subscriber, SubscriberGroups
from persistence.errors import StoreUnavailable
from persistence.model.stream import DiffBatch
from persistence.tasks import Begun
from tests.support.scripted_feed import Client, ScriptedFeed, at, operation, subscribed


@pytest.fixture
def feed() -> ScriptedFeed:
    return ScriptedFeed()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def groups(feed: ScriptedFeed, metrics: Metrics) -> AsyncIterator[SubscriberGroups]:
    """In the end none follows, and no task is left."""
    tasks = asyncio.all_tasks()
    yield SubscriberGroups(metrics)
    await _quiet()
    assert feed.followers == 0
    assert {task for task in asyncio.all_tasks() - tasks if task is not asyncio.current_task()} == set()


def counted(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(name)


async def test_who_asks_the_same_shares_one_execution_wherever_they_began(
    feed: ScriptedFeed, groups: SubscriberGroups, metrics: Metrics
) -> None:
    feed.commit(2)
    clients = [Client() for _ in range(3)]
    asked = [operation(feed, begin) for begin in (0, 1, 2)]
    async with AsyncExitStack() as stack:
        for client, each in zip(clients, asked, strict=True):
            await stack.enter_async_context(subscribed(groups, each, client))
        await _quiet()
        assert feed.followers == 1
        before = sum(len(each.executed) for each in asked)
        for revision in range(3, 8):
            feed.commit()
            for client in clients:
                await client.has(revision)
        assert sum(len(each.executed) for each in asked) == before + 5
    assert [client.taken for client in clients] == [list(range(begin + 1, 8)) for begin in (0, 1, 2)]
    executed, sent = (counted(metrics, f"omnirelay_batches_{name}_total") for name in ("executed", "sent"))
    assert (executed, sent) == (before + 5, 3 + 3 * 5)


async def test_who_asks_something_else_shares_nothing(feed: ScriptedFeed, groups: SubscriberGroups) -> None:
    one, other = Client(), Client()
    first, second = operation(feed, variables=b'{"a":1}'), operation(feed, variables=b'{"a":2}')
    async with subscribed(groups, first, one), subscribed(groups, second, other):
        await _quiet()
        assert feed.followers == 2
        feed.commit()
        assert await one.has(1) == await other.has(1) == [1]
    assert first.executed == second.executed == [0, 1]


async def test_who_comes_back_right_after_another_is_answered_from_what_was_executed(
    feed: ScriptedFeed, groups: SubscriberGroups
) -> None:
    feed.commit(3)
    first, second = operation(feed), operation(feed)
    for asked in (first, second):
        client = Client()
        async with subscribed(groups, asked, client):
            assert await client.has(3) == [1, 2, 3]
    assert (first.executed, second.executed) == ([3], [])


async def test_a_slow_one_misses_nothing_delays_no_other_and_comes_back(
    feed: ScriptedFeed, groups: SubscriberGroups
) -> None:
    slow, fast = Client(), Client()
    async with subscribed(groups, operation(feed), slow), subscribed(groups, operation(feed), fast):
        feed.commit()
        assert await slow.has(1) == await fast.has(1) == [1]
        slow.door.clear()
        for revision in range(2, 20):
            feed.commit()
            assert await fast.has(revision) == list(range(1, revision + 1))
        assert slow.taken == [1]
        assert feed.followers == 1  # it keeps one message, and is read for no further
        slow.door.set()
        assert await slow.has(19) == list(range(1, 20))
        await _quiet()
        assert feed.followers == 1
        feed.commit()
        assert await slow.has(20) == await fast.has(20) == list(range(1, 21))


async def test_one_that_is_slow_over_and_over_has_everything_once_and_in_order(
    feed: ScriptedFeed, groups: SubscriberGroups
) -> None:
    slow, fast = Client(), Client()
    async with subscribed(groups, operation(feed), slow), subscribed(groups, operation(feed), fast):
        for revision in range(1, 30):
            slow.door.clear()
            feed.commit()
            await fast.has(revision)
            slow.door.set()
        assert await slow.has(29) == list(range(1, 30))


async def test_one_that_breaks_ends_alone(feed: ScriptedFeed, groups: SubscriberGroups) -> None:
    broken, whole = Client(), Client()
    async with subscribed(groups, operation(feed), broken) as task, subscribed(groups, operation(feed), whole):
        await _quiet()
        broken.breaks = ConnectionResetError("gone")
        feed.commit()
        assert await whole.has(1) == [1]
        with pytest.raises(ConnectionResetError, match="gone"):
            await task
        feed.commit()
        assert await whole.has(2) == [1, 2]


async def test_one_that_breaks_while_its_message_waits_ends_alone(feed: ScriptedFeed, groups: SubscriberGroups) -> None:
    broken, whole = Client(), Client()
    async with subscribed(groups, operation(feed), broken) as task, subscribed(groups, operation(feed), whole):
        await _quiet()
        broken.door.clear()
        feed.commit()
        await broken.waiting.wait()
        broken.breaks = ConnectionResetError("gone")
        broken.door.set()
        with pytest.raises(ConnectionResetError, match="gone"):
            await task
        feed.commit()
        assert await whole.has(2) == [1, 2]


async def test_one_that_leaves_while_its_message_waits_is_not_sent_it(
    feed: ScriptedFeed, groups: SubscriberGroups
) -> None:
    leaving, staying = Client(), Client()
    async with subscribed(groups, operation(feed), staying):
        async with subscribed(groups, operation(feed), leaving):
            await _quiet()
            leaving.door.clear()
            feed.commit()
            await leaving.waiting.wait()
        leaving.door.set()
        feed.commit()
        assert await staying.has(2) == [1, 2]
    assert leaving.taken == []


async def test_one_that_takes_nothing_for_too_long_is_given_up(feed: ScriptedFeed, groups: SubscriberGroups) -> None:
    client = Client()
    async with subscribed(groups, operation(feed), client, send_timeout=0.01) as task:
        await _quiet()
        client.door.clear()
        feed.commit()
        with pytest.raises(TimeoutError):
            await task


async def test_the_last_to_leave_ends_the_group(feed: ScriptedFeed, groups: SubscriberGroups) -> None:
    async with subscribed(groups, operation(feed), Client()):
        async with subscribed(groups, operation(feed), Client()):
            await _quiet()
        await _quiet()
        assert feed.followers == 1
    await _quiet()
    assert feed.followers == 0


async def test_an_end_of_the_stream_reaches_every_member(feed: ScriptedFeed, groups: SubscriberGroups) -> None:
    async with AsyncExitStack() as stack:
        tasks = [await stack.enter_async_context(subscribed(groups, operation(feed), Client())) for _ in range(3)]
        await _quiet()
        feed.fail(StoreUnavailable("the database is gone"))
        for task in tasks:
            with pytest.raises(StoreUnavailable, match="the database is gone"):
                await task


async def test_who_comes_just_when_a_group_ended_is_not_left_to_it(
    feed: ScriptedFeed, groups: SubscriberGroups
) -> None:
    async with subscribed(groups, operation(feed), Client()) as ending:
        await _quiet()
        feed.fail(StoreUnavailable("for a moment"))
        await asyncio.sleep(0)
        feed.recover()
        client = Client()
        come = Subscriber(groups, operation(feed), client.take, None)  # type: ignore[arg-type] # what it needs of one
        begun = Begun(come.run())  # as far as it comes in this turn: into a group
        assert not begun.has_ended
        served = asyncio.ensure_future(begun)
        with pytest.raises(StoreUnavailable):
            await ending
        feed.commit()
        await _quiet()
        served.cancel()
        with suppress(asyncio.CancelledError):
            await served
        assert client.taken == [1]


async def test_a_batch_that_would_be_too_large_is_sent_in_parts_that_others_share(
    feed: ScriptedFeed, groups: SubscriberGroups
) -> None:
    """Three diffs of a half each: two messages, of one and of two or the other way round."""
    feed.commit(3)
    first, second = (operation(feed, width=MAX_PAYLOAD_BYTES // 2 - 1) for _ in range(2))
    one, other = Client(), Client()
    async with subscribed(groups, first, one), subscribed(groups, second, other):
        assert await one.has(3) == await other.has(3) == [1, 2, 3]
        feed.commit(3)
        assert await one.has(6) == await other.has(6) == [1, 2, 3, 4, 5, 6]
    assert one.messages == other.messages
    assert all(size <= MAX_PAYLOAD_BYTES for size, _ in one.messages)
    told = [(batch.position, [diff.revision for diff in batch.diffs], batch.caught_up) for _, batch in one.messages]
    assert told == [
        (at(1), [1], False),
        (at(3), [2, 3], True),
        (at(4), [4], False),
        (at(6), [5, 6], True),
    ]
    assert first.executed + second.executed == [3, 1, 3, 6, 4, 6]


async def test_one_diff_that_is_too_large_goes_alone(feed: ScriptedFeed, groups: SubscriberGroups) -> None:
    feed.commit(3)
    client = Client()
    async with subscribed(groups, operation(feed, width=MAX_PAYLOAD_BYTES + 1), client):
        assert await client.has(3) == [1, 2, 3]
    assert [(size, len(batch.diffs)) for size, batch in client.messages] == [(MAX_PAYLOAD_BYTES + 1, 1)] * 3


async def test_who_is_too_slow_for_the_second_part_of_a_batch_goes_on_from_the_first(
    feed: ScriptedFeed, groups: SubscriberGroups
) -> None:
    slow, fast = Client(), Client()
    wide = [operation(feed, width=MAX_PAYLOAD_BYTES // 2 - 1) for _ in range(2)]
    async with subscribed(groups, wide[0], slow), subscribed(groups, wide[1], fast):
        await _quiet()
        slow.door.clear()
        feed.commit(3)
        assert await fast.has(3) == [1, 2, 3]
        slow.door.set()
        assert await slow.has(3) == [1, 2, 3]
    assert [batch.position for _, batch in slow.messages] == [at(0), at(1), at(3)]


async def test_what_is_written_is_made_once_for_equal_heads_in_a_row(
    feed: ScriptedFeed, groups: SubscriberGroups, metrics: Metrics
) -> None:
    clients = [Client(head) for head in (b"a:", b"a:", b"a:", b"b:", b"b:")]
    async with AsyncExitStack() as stack:
        for client in clients:
            await stack.enter_async_context(subscribed(groups, operation(feed), client))
        await _quiet()
        before, sent = [client.encoded for client in clients], counted(metrics, "omnirelay_batches_sent_total")
        feed.commit()
        for client in clients:
            assert await client.has(1) == [1]
        await _quiet()
        assert counted(metrics, "omnirelay_batches_sent_total") == (sent or 0) + 5
    last = [client.frames[-1] for client in clients]
    assert last == [b"a:1"] * 3 + [b"b:1"] * 2
    assert last[0] is last[1] is last[2]
    assert last[3] is last[4]
    assert [client.encoded - made for client, made in zip(clients, before, strict=True)] == [1, 0, 0, 1, 0]
    assert all(client.messages == [] for client in clients)


async def test_what_cannot_be_written_at_once_is_sent_and_the_short_way_is_taken_again(
    feed: ScriptedFeed, groups: SubscriberGroups
) -> None:
    slow, fast = Client(b"a:"), Client(b"a:")
    async with subscribed(groups, operation(feed), slow), subscribed(groups, operation(feed), fast):
        await _quiet()
        slow.door.clear()
        for revision in (1, 2):
            feed.commit()
            assert await fast.has(revision) == list(range(1, revision + 1))
        assert slow.taken == []
        slow.door.set()
        assert await slow.has(2) == [1, 2]
        await _quiet()
        feed.commit()
        assert await slow.has(3) == [1, 2, 3]
    assert [batch.position for _, batch in slow.messages] == [at(1)]  # the one that had to wait
    assert slow.frames[1:] == [b"a:2", b"a:3"]
    assert fast.messages == []


async def test_one_that_was_cancelled_is_written_nothing_more(feed: ScriptedFeed, groups: SubscriberGroups) -> None:
    leaving, staying = Client(b"a:"), Client(b"a:")
    async with subscribed(groups, operation(feed), staying), subscribed(groups, operation(feed), leaving) as task:
        await _quiet()
        feed.commit()
        assert await staying.has(1) == await leaving.has(1) == [1]
        group = groups._groups[operation(feed).key]  # noqa: SLF001 - in the turn in which it is cancelled
        (member,) = [each for each in group.members if each._direct is leaving.direct]  # noqa: SLF001
        task.cancel()
        assert not member.offer(Message(b"2", DiffBatch(at(2), [], caught_up=True)))
    assert leaving.taken == [1]


@given(seed=st.integers(0, 2**32 - 1))
def test_whatever_the_order_of_things_each_record_equals_the_stream(seed: int) -> None:
    chance = random.Random(seed)
    with patch.object(
        groups_module, "MAX_PAYLOAD_BYTES", chance.choice((3, MAX_PAYLOAD_BYTES))
    ):  # two revisions, or all
        asyncio.run(_live(chance))


async def _live(chance: random.Random) -> None:
    """Commits, doors that open and close, comings and goings, with any number of turns of the loop in between."""
    feed, groups = ScriptedFeed(), SubscriberGroups(Metrics())
    async with AsyncExitStack() as stack:
        clients: list[tuple[int, Client, AsyncExitStack]] = []
        for _ in range(60):
            match chance.choice(("commit", "commit", "commit", "door", "door", "come", "leave", "wait")):
                case "commit":
                    feed.commit(chance.choice((1, 1, 1, 2, 7)))
                case "come" if len(clients) < 6:
                    begin, client = chance.randint(0, len(feed.rows)), Client(chance.choice((None, b"a:", b"b:")))
                    stay = await stack.enter_async_context(AsyncExitStack())
                    await stay.enter_async_context(subscribed(groups, operation(feed, begin), client))
                    clients.append((begin, client, stay))
                case "door" if clients:
                    _, client, _ = chance.choice(clients)
                    client.door.clear() if client.door.is_set() else client.door.set()
                case "leave" if clients:
                    begin, client, stay = clients.pop(chance.randrange(len(clients)))
                    await stay.aclose()
                    assert client.taken == list(range(begin + 1, begin + 1 + len(client.taken)))
            for _ in range(chance.choice((0, 0, 1, 2, 5))):
                await asyncio.sleep(0)
        for _, client, _ in clients:
            client.door.set()
        for begin, client, _ in clients:
            expected = list(range(begin + 1, len(feed.rows) + 1))
            assert await client.has(expected[-1] if expected else 0) == expected
    await _quiet()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def _quiet() -> None:
    """Until everything that is ready has run: nothing here waits for more than a few turns of the loop."""
    for _ in range(20):
        await asyncio.sleep(0)
