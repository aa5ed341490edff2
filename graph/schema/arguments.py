"""Arguments that several entry points share, with the same words in each."""

from collections.abc import Callable
from typing import Annotated, Any, Final, TypeAlias, TypeVar, cast

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

from graph.context import Info
from graph.cursors import Cursor, read_stream_cursor
from graph.inputs.reading import AsOf
from graph.scalars import Revision
from persistence.errors import FieldError, InvalidArgument
from persistence.fields import Problems, identifier_problem
from persistence.paging import PageRequest, page_request
from persistence.ports import DiffFeed
from persistence.queries import HistoryOrder

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
AsOfArgument: TypeAlias = Annotated[
    AsOf | None, strawberry.argument(description="Answer as the table stood at a moment of the past.")
]
AtLeast: TypeAlias = Annotated[
    Revision | None,
    strawberry.argument(
        description=(
            "Answer only once this server has seen this revision: pass the `revision` of your own write to read it. "
            "Fails with STALE_READ if that takes too long, and with FUTURE_REVISION if the store has no such revision. "
            "A revision that was lost in a failover is given to another change: `atLeastCursor` notices."
        )
    ),
]
AtLeastCursor: TypeAlias = Annotated[
    Cursor | None,
    strawberry.argument(
        description=(
            "In place of `atLeast`: answer only once this server has seen everything up to this cursor of the change "
            "stream, that of your own write or of a list. Fails with STALE_READ if that takes too long, and with "
            "EPOCH_MISMATCH if what it stands for was lost in a failover."
        )
    ),
]
NamespaceName: TypeAlias = Annotated[str, strawberry.argument(description="The namespace.")]


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


async def reached(feed: DiffFeed, at_least: int | None, at_least_cursor: str | None) -> None:
    """Until the feed has come there. Raises InvalidArgument where both are given, and what the feed does."""
    if at_least is not None and at_least_cursor is not None:
        raise invalid("atLeastCursor", "cannot be given together with atLeast")
    if at_least is not None:
        await feed.wait_for(at_least)
    elif at_least_cursor is not None:
        await feed.wait_for_position(read_stream_cursor(at_least_cursor, "atLeastCursor"))


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


def check_identifiers(**given: str | None) -> None:
    """Raises InvalidArgument naming each argument (spelt as in the schema) that cannot be an identifier."""
    problems = Problems()
    for name, value in given.items():
        if value is not None:
            problems.add(name, identifier_problem(value))
    problems.raise_if_any()


def invalid(field: str, message: str) -> InvalidArgument:
    return InvalidArgument(FieldError(field, message))
