"""Lists of the API, read page by page."""

from collections.abc import Iterator
from typing import Any, Final

from graph.cli.api import Api
from graph.cli.output import Json

PAGE: Final = 500
"""Items a page, at most: the API's own limit."""


def rows(api: Api, name: str, limit: int | None = None, **variables: Any) -> Iterator[Json]:
    """The items of a list, one after the other, read as they are wanted. `name` is an operation of one connection."""
    for page in pages(api, name, limit, **variables):
        yield from page["nodes"]


def pages(api: Api, name: str, limit: int | None = None, **variables: Any) -> Iterator[Json]:
    """The connections themselves. Together they hold at most `limit` items."""
    after: str | None = None
    left = limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        (page,) = api.ask(name, **variables, first=size, after=after).values()
        yield page
        if not page["pageInfo"]["hasNextPage"]:
            return
        after = page["pageInfo"]["endCursor"]
        left = None if left is None else left - len(page["nodes"])


def snapshot(api: Api, name: str, limit: int | None = None, **variables: Any) -> Iterator[Json]:
    """Like `pages`, all of them exact at the revision of the first, however much changes meanwhile.

    For operations that take `asOf` and answer with `revision`.
    """
    (first,) = api.ask(name, **variables, first=PAGE if limit is None else min(PAGE, limit)).values()
    yield first
    if first["pageInfo"]["hasNextPage"]:
        left = None if limit is None else limit - len(first["nodes"])
        pinned = variables | {"asOf": {"revision": first["revision"]}}
        yield from _following(api, name, left, first["pageInfo"]["endCursor"], pinned)


def _following(api: Api, name: str, limit: int | None, after: str, variables: dict[str, Any]) -> Iterator[Json]:
    raise NotImplementedError
