"""Relay connections, https://relay.dev/graphql/connections.htm: their arguments, their types, and the values behind."""

from collections.abc import Callable, Collection, Iterator, Sequence
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
from graph.execution.operation_plan import PlannedInfo
from graph.execution.records import Edges
from graph.execution.workload import names_below
from graph.schema.arguments import require_namespaces
from graph.schema.scalars import Revision
from persistence.codec import cursors
from persistence.codec.cursors import Cursor, CursorKind
from persistence.model.paging import Page, PageRequest, page_request
from persistence.model.queries import HistoryOrder
from persistence.model.records import StreamPosition
from persistence.ports.readers import Stamped

K = TypeVar("K")

T = TypeVar("T")

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


@strawberry.type(description="Whether there is more, and from where.")
class PageInfo:
    has_next_page: bool = strawberry.field(
        description="Whether items follow this page, or may: so it is where the search ended before the page was full."
    )
    has_previous_page: bool = strawberry.field(
        description="Whether items precede this page, or may: so it is with `last` where the search ended early."
    )
    start_cursor: str | None = strawberry.field(
        description=(
            "The first item's cursor, or how far a search with `last` got that ended before the page was full; else "
            "null on an empty page."
        )
    )
    end_cursor: str | None = strawberry.field(
        description=(
            "The last item's cursor, or how far a search got that ended before the page was full: go on from there. "
            "Else null on an empty page."
        )
    )


@strawberry.type
class Paged:
    """A connection, but for its items."""

    page_info: PageInfo = strawberry.field(description="Whether there is more, and from where.")
    total_count: int = strawberry.field(
        description=(
            "How many items there are on all pages, or at least, where `totalCountIsExact` is false. Counted only when "
            "selected, of 10,000 that are looked at for it, or 1,000 as of a time."
        )
    )
    total_count_is_exact: bool = strawberry.field(
        description="Whether `totalCount` is all; else it is a lower bound, of a list that is too long to be counted."
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


@dataclass(frozen=True, slots=True)
class Ends(Generic[T]):
    """`PageInfo` of a page, whose cursors are written when they are read; `write` does that for a place where a search
    ended."""

    page: Page[T]
    cursor_of: Callable[[T], str]
    write: Callable[[Any], str]

    @property
    def has_next_page(self) -> bool:
        return self.page.has_next

    @property
    def has_previous_page(self) -> bool:
        return self.page.has_previous

    @property
    def start_cursor(self) -> str | None:
        if self.page.start is not None:
            return self.write(self.page.start)
        return self.cursor_of(self.page.items[0]) if self.page.items else None

    @property
    def end_cursor(self) -> str | None:
        if self.page.end is not None:
            return self.write(self.page.end)
        return self.cursor_of(self.page.items[-1]) if self.page.items else None


@dataclass(frozen=True, slots=True)
class Connection(Generic[T]):
    """A page as the API shows it: nothing is read any more when a field is resolved, so all of it is of one snapshot.
    `cursor_of` an item writes its cursor, `write` that of a place between items."""

    page: Page[T]
    cursor_of: Callable[[T], str]
    write: Callable[[Any], str]

    @property
    def nodes(self) -> Sequence[T]:
        return self.page.items

    @property
    def edges(self) -> Edges[T]:
        return Edges(self.page.items, self.cursor_of)

    @property
    def page_info(self) -> Ends[T]:
        return Ends(self.page, self.cursor_of, self.write)

    @property
    def total_count(self) -> int | None:
        """Null unless it is selected."""
        return self.page.total

    @property
    def total_count_is_exact(self) -> bool:
        return self.page.total_is_exact


@dataclass(frozen=True, slots=True)
class StampedConnection(Connection[T]):
    """A connection that is exact at a position of the change stream."""

    position: StreamPosition

    @property
    def cursor(self) -> Cursor:
        return cursors.STREAM.write(self.position)

    @property
    def revision(self) -> int:
        return self.position.revision


def read_page(
    info: Info, kind: CursorKind[K], first: int | None, after: str | None, last: int | None, before: str | None
) -> PageRequest[K]:
    """The page that is requested, counted where `totalCount` of it is selected. Raises InvalidArgument, BadCursor."""
    return page_request(
        first,
        None if after is None else kind.read(after, "after"),
        last,
        None if before is None else kind.read(before, "before"),
        counted=not _COUNTED.isdisjoint(_selected(info)),
    )


async def connection(
    info: Info, page: Page[T], kind: CursorKind[K], position_of: Callable[[T], K], *namespaces: str | None
) -> Connection[T]:
    """The connection of a page; `position_of` an item is what its cursor stands for. Raises NotFoundError for an empty
    page, if a namespace that was named does not exist."""
    if not page.items:
        await require_namespaces(info, *namespaces)
    return connection_of(page, kind, position_of)


async def stamped_connection(
    info: Info, found: Stamped[Page[T]], kind: CursorKind[K], position_of: Callable[[T], K], *namespaces: str | None
) -> StampedConnection[T]:
    """As `connection`, of a page that is exact at a position of the change stream."""
    if not found.value.items:
        await require_namespaces(info, *namespaces)
    return StampedConnection(found.value, kind.writer(position_of), kind.write, found.position)


def connection_of(page: Page[T], kind: CursorKind[K], position_of: Callable[[T], K]) -> Connection[T]:
    """As `connection`, of a list whose namespaces need not be looked for."""
    return Connection(page, kind.writer(position_of), kind.write)


_COUNTED: Final = {"totalCount", "totalCountIsExact"}

_INCLUDES: Final = {"skip": False, "include": True}


def _selected(info: Info) -> Collection[str]:
    """The fields that the document selects of what is being resolved, under any alias and in any fragment."""
    return info.selected if isinstance(info, PlannedInfo) else list(_selected_fields(info))


def _selected_fields(info: Info) -> Iterator[str]:
    for node in _raw(info).field_nodes:
        yield from _selected_in(info, node.selection_set)


def _selected_in(info: Info, selections: SelectionSetNode | None) -> Iterator[str]:
    for node in () if selections is None else selections.selections:
        if not _is_included(info, node):
            continue
        if isinstance(node, FieldNode):
            yield node.name.value
        elif isinstance(node, FragmentSpreadNode):
            yield from _selected_in(info, _raw(info).fragments[node.name.value].selection_set)
        else:
            yield from _selected_in(info, cast("InlineFragmentNode", node).selection_set)


def selects(info: Info, name: str) -> bool:
    """Whether the document selects a field of this name below what is being resolved, however deep, and whatever
    `@skip` and `@include` make of it."""
    if isinstance(info, PlannedInfo):
        return name in info.selected_below
    return name in names_below(_raw(info).field_nodes, _raw(info).fragments)


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
