"""Pages of rows that are all at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from persistence.paging import Page, PageRequest, page_of
from persistence.records import ShardKey

K = TypeVar("K", ShardKey, str, int)
T = TypeVar("T")


def page_by(key: Callable[[T], K], rows: Iterable[T], request: PageRequest[K], *, descending: bool = False) -> Page[T]:
    """The rows between the cursors, in the order of `key`, cut to the page that was asked for."""
    rows = list(rows)
    lower, upper = (request.before, request.after) if descending else (request.after, request.before)
    inside = [row for row in rows if (lower is None or lower < key(row)) and (upper is None or key(row) < upper)]
    inside.sort(key=key, reverse=descending != request.backward)
    return page_of(inside[: request.limit + 1], request, total=len(rows) if request.counted else None)
