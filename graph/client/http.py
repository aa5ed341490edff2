"""Requests to a server's GraphQL API over HTTP: the operations of frontend-queries, lists page by page.

httpx2 and ssl are imported at the first request: commands import this module for `--help`, too, and they take 0.1 s.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from functools import cache
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from graph.client.address import Address, without_password
from graph.client.credentials import Credentials
from graph.client.errors import (
    Answer,
    AnswerLost,
    AnswerMalformed,
    NotGraphQL,
    OperationRefused,
    ServerUnreachable,
)
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
        try:
            self._http = httpx2.Client(
                timeout=httpx2.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
                headers={"accept": _ACCEPT},
                trust_env=address.through_proxy,
                verify=True if address.graphql.startswith("https:") else _ignoring_proxies(),
            )
        except (ValueError, httpx2.InvalidURL) as error:
            why = f"a proxy that the environment names (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) cannot be used: {error}"
            raise ServerUnreachable(address, why) from error

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
        return self._data(name, response)

    def _post(self, request: str) -> httpx2.Response:
        import httpx2  # noqa: PLC0415 - see above

        headers = {"content-type": "application/json"}
        if self._credentials is not None:
            headers["authorization"] = self._credentials.authorization()
        try:
            return self._http.post(self._address.graphql, content=request, headers=headers)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            raise ServerUnreachable(self._address, f"{error}{proxy_note(self._address)}") from error
        except (UnicodeError, httpx2.InvalidURL) as error:  # of a host that no name can be
            raise ServerUnreachable(self._address, error) from error
        except httpx2.TimeoutException as error:
            raise AnswerLost(f"{self._address} did not answer within {self._timeout:.0f} seconds.") from error
        except httpx2.RequestError as error:
            message = f"The connection to {self._address} broke off before the answer was there: {error}."
            raise AnswerLost(message) from error

    def _data(self, name: str, response: httpx2.Response) -> Json:
        body = _read(response.content)
        if response.status_code == HTTPStatus.NOT_FOUND or not isinstance(body, dict) or not body.keys() & _GRAPHQL:
            raise NotGraphQL(self._address, response.status_code, response.text)
        if body.get("errors"):
            raise OperationRefused.read(body["errors"]) or NotGraphQL(
                self._address, response.status_code, response.text
            )
        data = body.get("data")
        if not isinstance(data, dict) or data.keys() != response_names(name):
            raise AnswerMalformed(f"of {', '.join(sorted(response_names(name)))} it has nothing")
        return data


def _read(content: bytes) -> object:
    """Null for what is no JSON."""
    try:
        return json.loads(content, object_hook=Answer)
    except (ValueError, RecursionError):
        return None


@cache
def response_names(name: str) -> AbstractSet[str]:
    """The names of what an operation selects first: documents have them at a depth of one."""
    document = operation(name)
    _, _, body = document.partition(" {\n")
    return frozenset(re.findall(r"^  (\w+)", body.partition("\n}")[0], re.MULTILINE))


def proxy_note(address: Address) -> str:
    """What a message adds where the proxy of the environment is in between."""
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - see above; of an error

    scheme = address.graphql.partition(":")[0]
    host = urlsplit(address.graphql).netloc
    proxies = getproxies() if address.through_proxy and not proxy_bypass(host) else {}
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy:
        return ""
    shown = without_password(proxy if "//" in proxy else f"//{proxy}").removeprefix("//")
    return f" (through the proxy {shown}, which the environment names)"


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
        if not isinstance(page, dict):
            raise AnswerMalformed("a list is null")
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
