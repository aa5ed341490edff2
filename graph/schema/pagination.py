"""The values behind Relay connections: plain attributes of a page that was read at one moment, its count included."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from graph.cursors import Cursor, stream_cursor
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
    """A page with what turns it into a connection: how an item's cursor is written. Nothing is read any more when a
    field is selected: what is read later is of another moment."""

    page: Page[T]
    cursor_of: Callable[[T], str]

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
    def total_count(self) -> int | None:
        """Null unless the page was asked to be counted, as it is where the field is selected."""
        return self.page.total


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
    return Connection(page_of(rows, request, total=len(items)), cursor_of)
