"""What every Relay connection has, https://relay.dev/graphql/connections.htm; values: `graph/connections.py`."""

import strawberry

from graph.cursors import Cursor
from graph.scalars import Revision


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
