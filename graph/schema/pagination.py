"""Relay connections, https://relay.dev/graphql/connections.htm: their arguments, their types, and the values behind."""

from collections.abc import Callable, Iterator, Sequence
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
from graph.schema.arguments import require_namespaces
from graph.schema.scalars import Revision
from persistence.codec import cursors
from persistence.codec.cursors import Cursor, CursorKind
from persistence.model.paging import Page, PageRequest, page_request
from persistence.model.queries import HistoryOrder
from persistence.ports import Stamped

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


@dataclass(frozen=True, slots=True)
class Edge(Generic[T]):
    node: T
    cursor: Cursor


@dataclass(frozen=True, slots=True)
class Connection(Generic[T]):
    """A page as the API shows it: nothing is read any more when a field is resolved, so all of it is of one snapshot.
    `edges` and `total_count` are null unless they are selected."""

    nodes: Sequence[T]
    edges: Sequence[Edge[T]] | None
    page_info: PageInfo
    total_count: int | None


@dataclass(frozen=True, slots=True)
class StampedConnection(Connection[T]):
    """A connection that is exact at a position of the change stream."""

    cursor: Cursor
    revision: int


def read_page(
    info: Info, kind: CursorKind[K], first: int | None, after: str | None, last: int | None, before: str | None
) -> PageRequest[K]:
    """The page that is requested, counted where `totalCount` of it is selected. Raises InvalidArgument, BadCursor."""
    return page_request(
        first,
        None if after is None else kind.read(after, "after"),
        last,
        None if before is None else kind.read(before, "before"),
        counted="totalCount" in _selected(info),
    )


async def connection(
    info: Info, page: Page[T], kind: CursorKind[K], position_of: Callable[[T], K], *namespaces: str | None
) -> Connection[T]:
    """The connection of a page; `position_of` an item is what its cursor stands for. Raises NotFoundError for an empty
    page, if a namespace that was named does not exist."""
    if not page.items:
        await require_namespaces(info, *namespaces)
    return connection_of(info, page, kind, position_of)


async def stamped_connection(
    info: Info, found: Stamped[Page[T]], kind: CursorKind[K], position_of: Callable[[T], K], *namespaces: str | None
) -> StampedConnection[T]:
    """As `connection`, of a page that is exact at a position of the change stream."""
    if not found.value.items:
        await require_namespaces(info, *namespaces)
    fields = _fields(info, found.value, kind, position_of)
    return StampedConnection(*fields, cursors.STREAM.write(found.position), found.position.revision)


def connection_of(info: Info, page: Page[T], kind: CursorKind[K], position_of: Callable[[T], K]) -> Connection[T]:
    """As `connection`, of a list whose namespaces need not be looked for."""
    return Connection(*_fields(info, page, kind, position_of))


def _fields(
    info: Info, page: Page[T], kind: CursorKind[K], position_of: Callable[[T], K]
) -> tuple[Sequence[T], Sequence[Edge[T]] | None, PageInfo, int | None]:
    items = page.items
    has_edges = "edges" in _selected(info)
    placed = items if has_edges else [*items[:1], *items[-1:]]
    written = [kind.write(position) for position in map(position_of, placed)]
    start, end = (written[0], written[-1]) if written else (None, None)
    ends = PageInfo(
        has_next_page=page.has_next, has_previous_page=page.has_previous, start_cursor=start, end_cursor=end
    )
    return items, list(map(Edge, items, written)) if has_edges else None, ends, page.total


_INCLUDES: Final = {"skip": False, "include": True}


def _selected(info: Info) -> Iterator[str]:
    """The fields that the document selects of what is being resolved, under any alias and in any fragment."""
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
    nodes: list[SelectionNode] = list(_raw(info).field_nodes)
    fragments = dict(_raw(info).fragments)
    while nodes:
        node = nodes.pop()
        if isinstance(node, FragmentSpreadNode):
            fragment = fragments.pop(node.name.value, None)
            selected = None if fragment is None else fragment.selection_set
        else:
            selected = cast("FieldNode | InlineFragmentNode", node).selection_set
        below = () if selected is None else selected.selections
        if any(isinstance(each, FieldNode) and each.name.value == name for each in below):
            return True
        nodes += below
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
