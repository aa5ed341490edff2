"""Lists of the API, read page by page."""

from collections.abc import Iterator
from typing import Final, Protocol

from graph.client.records import Json

PAGE: Final = 500
"""Items a page: the most that the API allows."""


class Requested(Protocol):
    """Whoever answers queries: a server, in one way of failing or another."""

    def ask(self, name: str, variables: Json) -> Json: ...


def pages(
    api: Requested, name: str, variables: Json, limit: int | None = None, *, pinned: bool = False
) -> Iterator[Json]:
    """The connections that operation `name` answers with, read as they are wanted, together at most `limit` items.

    `pinned`: all exact at the revision of the first, however much changes meanwhile; for operations with `$asOf`.
    """
    after: str | None = None
    left = PAGE if limit is None else limit
    while left > 0:
        (page,) = api.ask(name, variables | {"first": min(PAGE, left), "after": after}).values()
        yield page
        if not page["pageInfo"]["hasNextPage"]:
            return
        after = page["pageInfo"]["endCursor"]
        if limit is not None:
            left -= len(page["nodes"])
        if pinned:
            variables = variables | {"asOf": {"revision": page["revision"]}}


def rows(api: Requested, name: str, variables: Json, limit: int | None = None) -> Iterator[Json]:
    """The items, one after the other."""
    for page in pages(api, name, variables, limit):
        yield from page["nodes"]
