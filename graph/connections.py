"""The values behind Relay connections: plain attributes, each worked out only when a query selects it."""

from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from graph.cursors import stream_cursor
from graph.scalars import Cursor
from persistence.paging import Page, PageRequest, page_of
from persistence.records import StreamPosition

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Edge(Generic[T]):
    node: T
    cursor: str


@dataclass(frozen=True, slots=True)
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@dataclass(frozen=True, slots=True)
class Connection(Generic[T]):
    """A page with what turns it into a connection: how an item's cursor is written, how all items are counted."""

    page: Page[T]
    cursor_of: Callable[[T], str]
    count: Callable[[], Awaitable[int]]

    @property
    def nodes(self) -> Sequence[T]:
        return self.page.items

    @property
    def edges(self) -> Sequence[Edge[T]]:
        return [Edge(item, self.cursor_of(item)) for item in self.page.items]

    @property
    def page_info(self) -> PageInfo:
        items = self.page.items
        return PageInfo(
            self.page.has_next,
            self.page.has_previous,
            self.cursor_of(items[0]) if items else None,
            self.cursor_of(items[-1]) if items else None,
        )

    @property
    def total_count(self) -> Awaitable[int]:
        """GraphQL awaits what an attribute holds: the count runs when the field is selected, not before."""
        return self.count()


@dataclass(frozen=True, slots=True)
class StampedConnection(Connection[T]):
    """A connection that is exact at a position of the change stream."""

    position: StreamPosition

    @property
    def cursor(self) -> Cursor:
        return stream_cursor(self.position)

    @property
    def revision(self) -> int:
        return self.position.revision


def connection_over(
    items: Sequence[T], place: Callable[[T], Any], cursor_of: Callable[[T], str], request: PageRequest[Any]
) -> Connection[T]:
    """A page of a list that is at hand. `place` is what the list is ordered by, and what the request's cursors hold."""
    start = 0 if request.after is None else bisect_right(items, request.after, key=place)
    end = len(items) if request.before is None else bisect_left(items, request.before, key=place)
    inside = items[start:end]
    rows = inside[: -request.limit - 2 : -1] if request.backward else inside[: request.limit + 1]

    async def count() -> int:
        return len(items)

    return Connection(page_of(rows, request), cursor_of, count)
