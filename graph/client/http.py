"""Requests to a server's GraphQL API over HTTP: the operations of frontend-queries, lists page by page.

httpx2 and ssl are imported at the first request: commands import this module for `--help`, too, and they take 0.1 s.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from graph.client.address import Address
from graph.client.credentials import Credentials
from graph.client.errors import AnswerLost, NotGraphQL, OperationRefused, ServerUnreachable
from graph.client.records import Json
from graph.operations import operation

if TYPE_CHECKING:
    import ssl

    import httpx2

PAGE: Final = 500
"""Items a page: the most that the API allows."""

# A bulk write or a page of a long history may take its time; a connection may not.
_READ_SECONDS: Final = 120.0

_CONNECT_SECONDS: Final = 5.0

_ACCEPT: Final = "application/graphql-response+json, application/json;q=0.9"

_GRAPHQL: Final = {"data", "errors"}


class Requests:
    """To one server. Used as a context manager: connections stay open from one request to the next."""

    def __init__(self, address: Address, timeout: float = _READ_SECONDS) -> None:
        """`timeout`: seconds to wait for an answer."""
        import httpx2  # noqa: PLC0415 - see above

        self._address = address
        self._timeout = timeout
        self._credentials = None if address.token is None else Credentials(address.token)
        self._http = httpx2.Client(
            timeout=httpx2.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
            headers={"accept": _ACCEPT},
            trust_env=address.through_proxy,
            verify=True if address.graphql.startswith("https:") else _ignoring_proxies(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def execute(self, name: str, variables: Json | None = None) -> Json:
        """The data that operation `name` answers with. Raises ClientError."""
        request = json.dumps({"query": operation(name), "operationName": name, "variables": variables or {}})
        response = self._post(request)
        # Refused before anything of it was executed, so that sending a mutation again is safe.
        if (
            response.status_code == HTTPStatus.UNAUTHORIZED
            and self._credentials is not None
            and self._credentials.renewed()
        ):
            response = self._post(request)
        return self._data(response)

    def _post(self, request: str) -> httpx2.Response:
        import httpx2  # noqa: PLC0415 - see above

        headers = {"content-type": "application/json"}
        if self._credentials is not None:
            headers["authorization"] = self._credentials.authorization()
        try:
            return self._http.post(self._address.graphql, content=request, headers=headers)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            raise ServerUnreachable(self._address, error) from error
        except httpx2.TimeoutException as error:
            raise AnswerLost(f"{self._address.url} did not answer within {self._timeout:.0f} seconds.") from error
        except httpx2.RequestError as error:
            message = f"The connection to {self._address.url} broke off before the answer was there: {error}."
            raise AnswerLost(message) from error

    def _data(self, response: httpx2.Response) -> Json:
        try:
            body = response.json()
        except ValueError:
            body = None
        if response.status_code == HTTPStatus.NOT_FOUND or not isinstance(body, dict) or not body.keys() & _GRAPHQL:
            raise NotGraphQL(self._address, response.status_code)
        if body.get("errors"):
            raise OperationRefused(body["errors"])
        return dict(body["data"])


def _ignoring_proxies() -> ssl.SSLContext:
    """For addresses without TLS. The certificates of all the authorities of the world take 50 ms to read, which is most
    of what a short command takes."""
    import ssl  # noqa: PLC0415 - see above

    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def pages(
    server: Requests, name: str, variables: Json, limit: int | None = None, *, pinned: bool = False
) -> Iterator[Json]:
    """The connections that operation `name` answers with, read as they are wanted, together at most `limit` items.

    `pinned`: all exact at the revision of the first, however much changes meanwhile; for operations with `$asOf`.
    """
    after: str | None = None
    left = PAGE if limit is None else limit
    while left > 0:
        (page,) = server.execute(name, variables | {"first": min(PAGE, left), "after": after}).values()
        yield page
        if not page["pageInfo"]["hasNextPage"]:
            return
        after = page["pageInfo"]["endCursor"]
        if limit is not None:
            left -= len(page["nodes"])
        if pinned:
            variables = variables | {"asOf": {"revision": page["revision"]}}


def rows(server: Requests, name: str, variables: Json, limit: int | None = None) -> Iterator[Json]:
    """The items, one after the other."""
    for page in pages(server, name, variables, limit):
        yield from page["nodes"]
