"""`GET /audit/export`: the audit log as a file, for tokens with the scope mesh.audit."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final, Protocol

from starlette.datastructures import QueryParams
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from graph.auth.principal import Forbidden, Principal, Unauthenticated
from graph.auth.principal import Scope as TokenScope
from graph.auth.tokens import EXPIRED, wait_until_expired
from graph.execution.errors import Code
from graph.execution.services import Exporter, Services
from graph.http.origins import Origins, cross_site
from graph.http.requests import BadRequest
from persistence.audit.export import ExportFilter
from persistence.errors import Overloaded, StoreError
from persistence.model.fields import name_problem, stored_text_problem

PATH: Final = "/audit/export"

AT_ONCE: Final = 1
"""Exports of one server process."""

_MEDIA_TYPES: Final = {"jsonl": "application/jsonl", "csv": "text/csv; charset=utf-8"}

_PARAMETERS: Final = frozenset({"format", "namespace", "actor", "ticket", "since", "until"})

_log = logging.getLogger(__name__)


class Endpoint(Protocol):
    """What is used of the endpoint of the API."""

    services: Services
    origins: Origins

    def caller(self, authorization: object, request_id: str) -> Principal:
        """Raises Unauthenticated."""
        ...

    def failure(self, request: Request, error: Exception) -> Response | None: ...


class AuditExport:
    """ASGI. One export at a time, so that no number of clients takes more than a processor and a connection."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._services = endpoint.services
        self._free = AT_ONCE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response: Response | None
        try:
            response = await self._response(request)
        except Exception as error:  # noqa: BLE001 - each has an answer
            response = self._endpoint.failure(request, error)
        if response is not None:
            await response(scope, receive, send)

    async def _response(self, request: Request) -> Response:
        """Raises BadRequest, ClientDisconnect, Unauthenticated, StoreError."""
        if request.method != "GET":
            message, allow = "the audit log is exported by GET", {"allow": "GET"}
            raise BadRequest(HTTPStatus.METHOD_NOT_ALLOWED, Code.METHOD_NOT_ALLOWED, message, allow)
        if cross_site(request.headers) and not self._endpoint.origins.allows(request.headers.get("origin")):
            message = "a page of another site has sent this (Sec-Fetch-Site: cross-site)"
            raise BadRequest(HTTPStatus.FORBIDDEN, Code.CROSS_SITE, message)
        principal = self._endpoint.caller(request.headers.get("authorization"), request.state.request_id)
        try:
            principal.require(TokenScope.AUDIT, "exporting the audit log")
        except Forbidden as error:
            extensions = {"scope": error.scope}
            raise BadRequest(HTTPStatus.FORBIDDEN, Code.FORBIDDEN, str(error), extensions=extensions) from None
        where, form = _filter(request.query_params)
        await self._require_namespace(where.namespace)
        return await self._begun(self._exporter(), where, form, request.receive, principal)

    def _exporter(self) -> Exporter:
        if self._services.exporter is None:
            raise BadRequest(HTTPStatus.NOT_FOUND, Code.NOT_FOUND, "this server has no database to export from")
        return self._services.exporter

    async def _require_namespace(self, name: str | None) -> None:
        try:
            exists = name is None or await self._services.store.namespaces.exists(name)
        except Overloaded:
            raise
        except StoreError as error:
            raise _unavailable(error) from error
        if not exists:
            raise BadRequest(HTTPStatus.NOT_FOUND, Code.NOT_FOUND, f"there is no namespace {name}")

    async def _begun(
        self, exporter: Exporter, where: ExportFilter, form: str, receive: Receive, principal: Principal
    ) -> Response:
        if not self._free:
            raise Overloaded("another export is being written")
        self._free -= 1
        stack = AsyncExitStack()
        stack.callback(self._end)
        leaving = asyncio.create_task(_left(receive))
        stack.callback(leaving.cancel)
        try:
            chunks = await stack.enter_async_context(exporter(where, form))
            first = await _first(chunks, leaving)
        except StoreError as error:
            await stack.aclose()
            raise _unavailable(error) from error
        except BaseException:
            await stack.aclose()
            raise
        return _Download(first, chunks, leaving, stack, form, principal)

    def _end(self) -> None:
        self._free += 1


class _Download(Response):
    """Chunk by chunk, as the client takes them, until it leaves or its token expires: a client that takes little of it
    would otherwise keep others from theirs for days."""

    def __init__(
        self,
        first: bytes,
        chunks: AsyncIterator[bytes],
        leaving: asyncio.Task[None],
        stack: AsyncExitStack,
        form: str,
        principal: Principal,
    ) -> None:
        name = f"audit-{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.{form}"
        headers = {"cache-control": "no-store", "content-disposition": f'attachment; filename="{name}"'}
        super().__init__(headers=headers, media_type=_MEDIA_TYPES[form])
        del self.headers["content-length"]
        self._first = first
        self._chunks = chunks
        self._leaving = leaving
        self._stack = stack
        self._principal = principal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI has it
        sending, expiry = asyncio.create_task(self._send(send)), asyncio.create_task(self._expired())
        tasks = (sending, expiry, self._leaving)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in (sending, expiry):
                if task.done():
                    task.result()
                    break
        except (StoreError, Unauthenticated) as error:
            # Unfinished, so the server drops the connection: a client must not take it for a whole export.
            _log.warning("request %s: the export was given up: %s", scope["state"]["request_id"], error)
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stack.aclose()

    async def _expired(self) -> None:
        """Raises Unauthenticated once the token has."""
        await wait_until_expired(self._principal)
        raise Unauthenticated(EXPIRED, may_pass=True)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._first, "more_body": True})
        async for chunk in self._chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _first(chunks: AsyncIterator[bytes], leaving: asyncio.Task[None]) -> bytes:
    """Empty where there is none. A filter that little passes may keep it waiting for as long as reading the whole log
    takes. Raises ClientDisconnect where `leaving` is done before, and what the chunks raise."""

    async def next_chunk() -> bytes:
        return await anext(chunks, b"")

    coming = asyncio.create_task(next_chunk())
    try:
        await asyncio.wait({coming, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not coming.done():
            raise ClientDisconnect
        return coming.result()
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _filter(given: QueryParams) -> tuple[ExportFilter, str]:
    """Raises BadRequest naming the parameter."""
    for name in given:
        if name not in _PARAMETERS:
            raise _bad(name, f"is not known here: there are {', '.join(sorted(_PARAMETERS))}")
        if len(given.getlist(name)) > 1:
            raise _bad(name, "is given more than once")
    form = given.get("format", "jsonl")
    if form not in _MEDIA_TYPES:
        raise _bad("format", f"must be {' or '.join(_MEDIA_TYPES)}")
    for name, problem_of in _PROBLEMS.items():
        if name in given and (problem := problem_of(given[name])):
            raise _bad(name, problem)
    since, until = _time(given, "since"), _time(given, "until")
    if since is not None and until is not None and until <= since:
        raise _bad("until", "must be later than since")
    return ExportFilter(given.get("namespace"), given.get("actor"), given.get("ticket"), since, until), form


_PROBLEMS: Final[Mapping[str, Callable[[str], str | None]]] = {
    "namespace": name_problem,
    "actor": stored_text_problem,
    "ticket": stored_text_problem,
}


def _time(given: QueryParams, name: str) -> datetime | None:
    if name not in given:
        return None
    try:
        time = datetime.fromisoformat(given[name])
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise _bad(name, "must be a time with its offset, such as 2026-01-31T09:30:00Z")
    return time


def _unavailable(error: StoreError) -> BadRequest:
    return BadRequest(HTTPStatus.SERVICE_UNAVAILABLE, error.code, str(error))


def _bad(name: str, problem: str) -> BadRequest:
    return BadRequest(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", f"{name} {problem}")
