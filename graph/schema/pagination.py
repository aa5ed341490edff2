"""The values behind Relay connections: plain attributes of a page that was read at one moment, its count included.

What every Relay connection has, https://relay.dev/graphql/connections.htm; values: `graph/connections.py`.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Generic, TypeAlias, TypeVar, cast

import strawberry
from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLResolveInfo,
    InlineFragmentNode,
    SelectionNode,
    SelectionSetNode,
    value_from_ast_untyped,
)

from graph.execution.context import Info
from graph.schema.scalars import Revision
from persistence.codec.cursors import Cursor, stream_cursor
from persistence.model.paging import Page, PageRequest, page_of, page_request
from persistence.model.queries import HistoryOrder
from persistence.model.records import StreamPosition

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Edge(Generic[T]):
    node: T
    cursor: str


@dataclass(frozen=True, slots=True)
class PageEnds:
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
    def page_info(self) -> PageEnds:
        items = self.page.items
        return PageEnds(
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


@strawberry.type(description="Whether there is more, and from where.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether items follow this page.")
    has_previous_page: bool = strawberry.field(description="Whether items precede this page.")
    start_cursor: str | None = strawberry.field(description="The first item's cursor; null on an empty page.")
    end_cursor: str | None = strawberry.field(description="The last item's cursor; null on an empty page.")


@strawberry.type
class Paged:
    """A connection, but for its items."""

    page_info: PageInfo = strawberry.field(description="Whether there is more, and from where.")
    total_count: int = strawberry.field(
        description="How many items there are on all pages. Counted only when selected."
    )


@strawberry.type
class StampedPaged(Paged):
    """A connection that is exact at a position of the change stream."""

    cursor: Cursor = strawberry.field(
        description="The place in the change stream this is exact at: follow with `shardDiffs(after:)`, miss nothing."
    )
    revision: Revision = strawberry.field(description="The revision this is exact at.")


@strawberry.type
class Placed:
    """An edge, but for its item."""

    cursor: str = strawberry.field(description="The item's place in the list, for `after` and `before`.")


K = TypeVar("K")

First: TypeAlias = Annotated[
    int | None, strawberry.argument(description="At most this many items, 1 to 500, from the start. 50 by default.")
]

After: TypeAlias = Annotated[
    str | None, strawberry.argument(description="Only items after this cursor: a page's `endCursor`.")
]

Last: TypeAlias = Annotated[
    int | None,
    strawberry.argument(description="At most this many items, 1 to 500, from the end. Not together with `first`."),
]

Before: TypeAlias = Annotated[
    str | None, strawberry.argument(description="Only items before this cursor: a page's `startCursor`.")
]

OrderBy: TypeAlias = Annotated[
    HistoryOrder | None, strawberry.argument(description="Which end comes first; the newest by default.")
]


def read_page(
    info: Info,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
    read: Callable[[str, str], K],
) -> PageRequest[K]:
    """The page asked for, counted where the document selects `totalCount` of it. `read` takes a cursor and the argument
    it came in. Raises InvalidArgument, BadCursor."""
    return page_request(
        first,
        None if after is None else read(after, "after"),
        last,
        None if before is None else read(before, "before"),
        counted=selects(info, "totalCount"),
    )


_INCLUDES: Final = {"skip": False, "include": True}


def selects(info: Info, field: str) -> bool:
    """Whether the document selects that field of what is being resolved, under any alias and in any fragment."""
    return any(_selects(info, node.selection_set, field) for node in _raw(info).field_nodes)


def _selects(info: Info, selections: SelectionSetNode | None, field: str) -> bool:
    for node in () if selections is None else selections.selections:
        if isinstance(node, FieldNode):
            found = node.name.value == field
        elif isinstance(node, FragmentSpreadNode):
            found = _selects(info, _raw(info).fragments[node.name.value].selection_set, field)
        else:
            found = _selects(info, cast("InlineFragmentNode", node).selection_set, field)
        if found and _is_included(info, node):
            return True
    return False


def _raw(info: Info) -> GraphQLResolveInfo[Any]:
    return info._raw_info  # noqa: SLF001 - `selected_fields` converts the document below here as a whole, each time


def _is_included(info: Info, node: SelectionNode) -> bool:
    """By its `@skip(if:)` and `@include(if:)`."""
    for directive in node.directives or ():
        if directive.name.value in _INCLUDES:
            (condition,) = directive.arguments or ()
            if value_from_ast_untyped(condition.value, info.variable_values) is not _INCLUDES[directive.name.value]:
                return False
    return True
