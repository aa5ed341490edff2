"""Asking a server's GraphQL API over HTTP: the operations of frontend-queries, and every way that can fail."""

import json
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

import httpx2

from graph.cli.address import Address
from graph.cli.errors import failure_of
from graph.cli.exits import Exit, Failure
from graph.cli.output import Json
from graph.operations import operation

# A bulk write or a page of a long history may take its time; finding out that nobody is there may not.
_PATIENCE: Final = httpx2.Timeout(120.0, connect=5.0)
_ACCEPT: Final = "application/graphql-response+json, application/json;q=0.9"
_GRAPHQL: Final = {"data", "errors"}


class Api:
    """One server. Used as a context manager: connections stay open from one request to the next."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._http = httpx2.Client(timeout=_PATIENCE, headers={"accept": _ACCEPT}, trust_env=address.through_proxy)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def ask(self, name: str, variables: Json | None = None) -> Json:
        """The data a query answers with. Raises Failure."""
        return self._send(name, variables or {}, "Try again.")

    def change(self, name: str, given: Json) -> Json:
        """What a mutation answers, committed or refused: a member of its result's union. Raises Failure."""
        unknown = "Whether the change was made is not known: look before you try again."
        (answer,) = self._send(name, {"input": given}, unknown).values()
        return dict(answer)

    def _send(self, name: str, variables: Json, if_broken_off: str) -> Json:
        request = {"query": operation(name), "operationName": name, "variables": variables}
        try:
            response = self._http.post(
                self._address.graphql, content=json.dumps(request), headers={"content-type": "application/json"}
            )
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            raise unreachable(self._address, error) from error
        except httpx2.TimeoutException as error:
            message = f"{self._address.url} did not answer within {_PATIENCE.read:.0f} seconds."
            raise Failure(Exit.UNAVAILABLE, message, [if_broken_off]) from error
        except httpx2.RequestError as error:
            message = f"The connection to {self._address.url} broke off before the answer was there: {error}."
            raise Failure(Exit.UNAVAILABLE, message, [if_broken_off]) from error
        return self._data(response)

    def _data(self, response: httpx2.Response) -> Json:
        try:
            body = response.json()
        except ValueError:
            body = None
        if response.status_code == HTTPStatus.NOT_FOUND or not isinstance(body, dict) or not body.keys() & _GRAPHQL:
            raise _no_graphql(self._address, response.status_code)
        if body.get("errors"):
            raise failure_of(body["errors"])
        return dict(body["data"])


def unreachable(address: Address, error: object) -> Failure:
    """Nobody listens there, or not yet."""
    return Failure(
        Exit.UNAVAILABLE,
        f"There is no server at {address.url}: {error}.",
        ["Start one with 'omnirelay serve', or say where it is with --server or OMNIRELAY_SERVER."],
    )


def _no_graphql(address: Address, status: int) -> Failure:
    busy = status in (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
    advice = "It may be starting: try again." if busy else "Is that address an OmniRelay server's? See --server."
    return Failure(Exit.UNAVAILABLE, f"{address.graphql} answered with HTTP {status}, not with GraphQL.", [advice])
