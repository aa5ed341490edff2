"""Pages of history that are read again: not read, while nothing was added, and never shown once something was."""

from __future__ import annotations

from typing import Any

from persistence.model.paging import Page
from persistence.model.queries import ShardHistoryFilter
from persistence.postgres.readers.held_pages import HeldPages, is_held

LIMIT = 3


class Table:
    """`rows` are what a page of it has."""

    def __init__(self) -> None:
        self.pages = HeldPages(LIMIT)
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

    async def page(self, key: str = "page") -> list[Any]:
        found = await self.pages.page(key, self.newest, self.read)
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
    table = Table()
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


def test_only_pages_that_nothing_but_their_rows_decides_are_held() -> None:
    assert is_held(ShardHistoryFilter())
    assert is_held(ShardHistoryFilter(namespace="a", shard_id="b"))
    assert not is_held(ShardHistoryFilter(namespace="a", actor="ops"))
    assert not is_held(ShardHistoryFilter(kinds=[]))
