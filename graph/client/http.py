"""Asking a server's GraphQL API over HTTP: the operations of frontend-queries, and every way that can fail."""

import json
import ssl
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

import httpx2

from graph.client.address import Address
from graph.client.credentials import Credentials
from graph.client.errors import AnswerLost, NotGraphQL, OperationRefused, ServerUnreachable
from graph.client.records import Json
from graph.operations import operation

# A bulk write or a page of a long history may take its time; finding out that nobody is there may not.
_READ_SECONDS: Final = 120.0

_CONNECT_SECONDS: Final = 5.0

_ACCEPT: Final = "application/graphql-response+json, application/json;q=0.9"

_GRAPHQL: Final = {"data", "errors"}


class Requests:
    """To one server. Used as a context manager: connections stay open from one request to the next."""

    def __init__(self, address: Address, patience: float = _READ_SECONDS) -> None:
        """`patience`: seconds to wait for an answer."""
        self._address = address
        self._patience = patience
        self._credentials = Credentials(address.token)
        self._http = httpx2.Client(
            timeout=httpx2.Timeout(patience, connect=min(patience, _CONNECT_SECONDS)),
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

    def ask(self, name: str, variables: Json) -> Json:
        """The data that operation `name` answers with. Raises ClientError."""
        request = json.dumps({"query": operation(name), "operationName": name, "variables": variables})
        response = self._post(request)
        # Refused before anything of it was executed, so that sending a mutation again is safe.
        if response.status_code == HTTPStatus.UNAUTHORIZED and self._credentials.renewed():
            response = self._post(request)
        return self._data(response)

    def _post(self, request: str) -> httpx2.Response:
        headers = {"content-type": "application/json"}
        authorization = self._credentials.authorization()
        if authorization is not None:
            headers["authorization"] = authorization
        try:
            return self._http.post(self._address.graphql, content=request, headers=headers)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            raise ServerUnreachable(self._address, error) from error
        except httpx2.TimeoutException as error:
            raise AnswerLost(f"{self._address.url} did not answer within {self._patience:.0f} seconds.") from error
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
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
