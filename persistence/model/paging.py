"""Pages of a keyset: the arguments of a Relay connection, checked and turned around once, for every connection.

https://relay.dev/graphql/connections.htm
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from persistence.errors import FieldError, InvalidArgument

DEFAULT_PAGE: Final = 50

MAX_PAGE: Final = 500

SEARCHED_AT_MOST: Final = 3_000
"""Items that are looked at for one page where no index leads to those that match."""

COUNTED_AT_MOST: Final = 10_000
"""Items that are looked at for one count."""

K = TypeVar("K")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PageRequest(Generic[K]):
    """At most `limit` items strictly after `after` and before `before`; the last of them when `backward`.

    `counted`: together with how many there are on all pages. The count is part of the page, for it is true of no other
    snapshot than the page's own.
    """

    limit: int
    after: K | None = None
    before: K | None = None
    backward: bool = False
    counted: bool = False


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Items in the connection's order, in whichever direction they were requested.

    `total` is how many there were on all pages when this one was read, or at least, if it is not exact; null unless the
    request is `counted`. A search that ended before it had a whole page has come to the key `end`, to `start` where it
    went backward: further items may be beyond.

    `stands` tells whether it would be read the same now, where that takes less than to read it; null where it does not.
    """

    items: Sequence[T]
    has_next: bool
    has_previous: bool
    total: int | None = None
    total_is_exact: bool = True
    start: Any = None
    end: Any = None
    stands: Callable[[], Awaitable[bool]] | None = field(default=None, compare=False)

    @property
    def is_complete(self) -> bool:
        """Whether it was searched for as long as it takes."""
        return self.start is None and self.end is None


def page_request(
    first: int | None, after: K | None, last: int | None, before: K | None, *, counted: bool = False
) -> PageRequest[K]:
    """Raises InvalidArgument for `first` with `last`, or a size outside 1..500. Neither means first 50."""
    if first is not None and last is not None:
        raise InvalidArgument(FieldError("last", "cannot be combined with first: ask for one end"))
    name, size = ("last", last) if last is not None else ("first", first)
    if size is not None and not 1 <= size <= MAX_PAGE:
        raise InvalidArgument(FieldError(name, f"must be between 1 and {MAX_PAGE}, not {size}"))
    return PageRequest(size or DEFAULT_PAGE, after, before, backward=last is not None, counted=counted)


def page_of(
    rows: Sequence[T],
    request: PageRequest[K],
    total: int | None = None,
    *,
    total_is_exact: bool = True,
    reached: K | None = None,
) -> Page[T]:
    """The page from up to `limit` + 1 rows, fetched in the direction of the request.

    The one row too many shows whether there is more; the end that was given as a cursor has something beyond it. So may
    have the key that was `reached` by a search that ended there.
    """
    if len(rows) > request.limit:
        reached = None
    more = len(rows) > request.limit or reached is not None
    items = rows[: request.limit]
    if request.backward:
        return Page(items[::-1], request.before is not None, more, total, total_is_exact, start=reached)
    return Page(items, more, request.after is not None, total, total_is_exact, end=reached)
