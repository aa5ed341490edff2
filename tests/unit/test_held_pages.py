"""Pages of history that are read again: not read, while nothing was added, and never shown once something was."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from persistence.model.paging import Page
from persistence.model.queries import ShardHistoryFilter
from persistence.postgres.readers.held_pages import HeldPages, NewestRows, is_held

LIMIT = 6
"""Three pages of a row."""


class Table:
    """`rows` are what a page of it has."""

    def __init__(self, limit: int = 1_000) -> None:
        self.pages = HeldPages(limit)
        self.rows: list[Any] = [1]
        self.reads = 0
        self.looks = 0
        self.grows_while_read = False

    async def newest(self) -> tuple[Any, ...]:
        self.looks += 1
        return (self.rows[-1],)

    async def read(self) -> Page[Any]:
        self.reads += 1
        rows = list(self.rows)
        if self.grows_while_read:
            self.rows.append(self.rows[-1] + 1)
        return Page(rows, has_next=False, has_previous=False)

    async def found(self, key: str = "page") -> Page[Any]:
        return await self.pages.page(key, self.newest, self.read)

    async def page(self, key: str = "page") -> list[Any]:
        found = await self.found(key)
        assert list(found.items) == self.rows or self.grows_while_read
        return list(found.items)


async def test_a_page_is_read_twice_and_then_no_more_while_nothing_is_added() -> None:
    table = Table()
    await table.page()
    assert (table.reads, table.looks) == (1, 0), "a page that is read once costs what it did"
    for _ in range(5):
        await table.page()
    assert (table.reads, table.looks) == (2, 6)


async def test_what_is_added_is_on_the_next_page_and_a_page_that_changes_all_the_time_is_just_read() -> None:
    table = Table()
    for _ in range(3):
        await table.page()
    before = table.reads + table.looks
    for number in range(2, 102):
        table.rows.append(number)
        await table.page()
    assert table.reads + table.looks - before <= 140
    assert table.reads == 2 + 100


async def test_a_page_to_which_something_was_added_while_it_was_read_is_not_held() -> None:
    table = Table()
    await table.page()
    table.grows_while_read = True
    assert await table.page() == [1]
    table.grows_while_read = False
    assert await table.page() == [1, 2]
    assert await table.page() == [1, 2]
    assert table.reads == 3


async def test_pages_that_are_not_read_any_more_are_given_up() -> None:
    table = Table(LIMIT)
    for name in ("often", *"abcd"):
        for _ in range(3):
            await table.page(name)
            await table.page("often")
    reads = table.reads
    await table.page("often")
    await table.page("d")
    assert table.reads == reads
    await table.page("a")
    assert table.reads == reads + 1


async def test_a_page_that_is_held_tells_whether_it_stands_also_once_it_is_given_up() -> None:
    table = Table(LIMIT)
    assert (await table.found()).stands is None, "it may never be read again"
    page = await table.found()
    assert page.stands is not None
    assert await page.stands()
    for name in "abc":
        await table.page(name)
        await table.page(name)
    reads = table.reads
    assert await page.stands()
    assert table.reads == reads
    table.rows.append(2)
    assert not await page.stands()


async def test_one_that_has_changed_is_not_looked_at_while_it_is_just_read() -> None:
    table = Table()
    for _ in range(2):
        page = await table.found()
    assert page.stands is not None
    table.rows.append(2)
    looks = table.looks
    for _ in range(8):
        assert not await page.stands()
        await table.page()
    assert table.looks == looks + 1
    for _ in range(2):
        page = await table.found()
    assert page.stands is not None
    assert await page.stands()


async def test_what_was_held_before_does_not_give_up_what_is_held_now() -> None:
    table = Table()
    for _ in range(2):
        before = await table.found()
    table.rows.append(2)
    for _ in range(10):
        now = await table.found()
    reads = table.reads
    assert before.stands is not None
    assert now.stands is not None
    assert not await before.stands()
    assert await now.stands()
    await table.page()
    assert table.reads == reads


def test_only_pages_that_nothing_but_their_rows_decides_are_held() -> None:
    assert is_held(ShardHistoryFilter())
    assert is_held(ShardHistoryFilter(namespace="a", shard_id="b"))
    assert not is_held(ShardHistoryFilter(namespace="a", actor="ops"))
    assert not is_held(ShardHistoryFilter(kinds=[]))


class Database:
    """Answers a read when that is let go. `newest` grows with each."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.reads: list[asyncio.Future[None]] = []

    async def read(self, values: Mapping[str, Any]) -> Sequence[Any]:
        names = values["names"]
        self.asked.append(names)
        number = len(self.asked)
        self.reads.append(asyncio.get_running_loop().create_future())
        await self.reads[-1]
        return [("epoch", 0, number, b"head", name, number, b"hash") for name in names or [None]]

    async def begun(self, number: int) -> asyncio.Future[None]:
        while len(self.reads) < number:  # noqa: ASYNC110 - it is the next turns of the loop that are waited for
            await asyncio.sleep(0)
        return self.reads[number - 1]


async def test_what_is_asked_while_an_answer_is_on_its_way_is_answered_by_the_next_all_at_once() -> None:
    database = Database()
    newest = NewestRows(database.read)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(newest.of("a"))
        begun = await database.begun(1)
        later = [group.create_task(newest.of(name)) for name in ("a", "b", None, "a")]
        await asyncio.sleep(0)
        begun.set_result(None)
        (await database.begun(2)).set_result(None)
    assert database.asked == [["a"], ["a", "b"]]
    assert first.result() == ("epoch", 0, 1, b"hash")
    of_a, of_b, of_all, again = (each.result() for each in later)
    assert of_a == of_b == again == ("epoch", 0, 2, b"hash")
    assert of_all == ("epoch", 0, 2, b"head")


async def test_those_that_others_let_in_when_they_were_answered_are_answered_by_one_read() -> None:
    """As an operation that ends lets the next one of its queue begin."""
    asked: list[list[str]] = []

    async def read(values: Mapping[str, Any]) -> Sequence[Any]:
        asked.append(values["names"])
        for _ in range(10):
            await asyncio.sleep(0)
        return [("epoch", 0, 1, b"head", name, 1, b"hash") for name in values["names"]]

    newest, turns = NewestRows(read), asyncio.Semaphore(3)

    async def operation(name: str) -> None:
        async with turns:
            await newest.of(name)

    await asyncio.gather(*(operation(str(number)) for number in range(15)))
    assert [len(names) for names in asked] == [3] * 5


async def two_that_wait_for_one_read(newest: NewestRows, database: Database) -> Sequence[asyncio.Future[Any]]:
    before = asyncio.ensure_future(newest.of("x"))
    begun = await database.begun(1)
    waiting = [asyncio.ensure_future(newest.of(name)) for name in ("a", "b")]
    await asyncio.sleep(0)
    begun.set_result(None)
    await before
    await database.begun(2)
    assert database.asked == [["x"], ["a", "b"]]
    return waiting


async def test_when_one_of_them_leaves_the_others_are_read_again() -> None:
    database = Database()
    first, second = await two_that_wait_for_one_read(NewestRows(database.read), database)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    (await database.begun(3)).set_result(None)
    assert await second == ("epoch", 0, 3, b"hash")
    assert database.asked[2] == ["b"]


async def test_a_failure_is_that_of_all_it_was_read_for_and_of_none_that_ask_later() -> None:
    database = Database()
    newest = NewestRows(database.read)
    waiting = await two_that_wait_for_one_read(newest, database)
    later = asyncio.ensure_future(newest.of("a"))
    await asyncio.sleep(0)
    database.reads[1].set_exception(ConnectionError())
    failures = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10)
    assert [type(failure) for failure in failures] == [ConnectionError] * 2
    (await database.begun(3)).set_result(None)
    assert await later == ("epoch", 0, 3, b"hash")


async def test_of_all_namespaces_the_head_is_newest() -> None:
    database = Database()
    asked = asyncio.ensure_future(NewestRows(database.read).of(None))
    (await database.begun(1)).set_result(None)
    assert await asked == ("epoch", 0, 1, b"head")
