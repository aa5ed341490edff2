"""The short way in: a POST of an operation that has a plan is read, authenticated, executed and answered here.

To pass routing, middleware and negotiation costs a multiple of what a lookup does. Whatever is not regular (a header
given twice, a host that is not allowed, a token that is not good, a body that is no operation, an operation without a
plan) is handed on, with what was read of it, to the application behind, which decides and answers: nothing is refused
here for the form of its request. What is answered here is answered in the same bytes there.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from functools import lru_cache
from random import getrandbits
from time import perf_counter
from typing import Any, Final, NamedTuple, Protocol

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from graph.auth.principal import Principal
from graph.auth.tokens import Authentication
from graph.execution.budgets import Charge, CostControl
from graph.execution.context import Context
from graph.execution.encoding import encode_in_slices, encode_json
from graph.execution.metrics import Metrics
from graph.execution.operation_plan import Plan, Run
from graph.execution.outcomes import OperationRecord, begin_record, current_record
from graph.execution.services import Services
from graph.execution.workload import Workload
from graph.http.admission import AdmissionControl, client_of
from graph.http.answers import LONGEST_REQUEST, Answers
from graph.http.bodies import LARGE_BYTES, READ, Bodies, replaying
from graph.http.request_log import RequestLog, trace_id_in
from graph.http.requests import REQUEST_ID, Accept, BadRequest, fit_request_id, read_json, require_json
from graph.http.trusted_documents import TrustedDocuments
from graph.schema.build import MeshSchema
from graph.schema.pagination import Connection
from persistence.errors import Overloaded
from persistence.tasks import Begun

PATH: Final = "/graphql"

_REQUEST_ID: Final = REQUEST_ID.encode()

_MEMBERS: Final = frozenset({"query", "documentId", "variables", "operationName", "extensions"})

_PERSISTED: Final = frozenset({"persistedQuery"})
"""The one extension that is read: a document by its hash."""

_KINDS: Final = frozenset({OperationType.QUERY, OperationType.MUTATION})

KEPT_PAGE_BYTES: Final = 8 * 1024 * 1024
"""Of answers that are pages of history."""

_LONGEST_CACHED: Final = 1_024
"""Bytes of the headers that are negotiated."""


class Endpoint(Protocol):
    """What is used of the endpoint at PATH."""

    schema: MeshSchema
    admission: AdmissionControl
    costs: CostControl
    authentication: Authentication
    trusted_documents: TrustedDocuments
    services: Services
    metrics: Metrics
    requests: RequestLog
    bodies: Bodies

    def follow(self, socket: WebSocket) -> Awaitable[object]:
        """Serve a socket until it is closed."""

    async def response(self, result: ExecutionResult, media_type: str) -> Response:
        """The answer of an operation that was executed, or refused."""

    def failure(self, request: Request, error: Exception) -> Response | None:
        """The answer in place of one that could not be given; null where the client has left."""


class Hosts(Protocol):
    def allows(self, header: str) -> bool:
        """Whether a request may be addressed to this value of a `Host` header."""


class _Head(NamedTuple):
    """What depends on the head of a request alone. `lines` are of the head of its answer."""

    authorization: bytes | None
    lines: bytes


class _Asked(NamedTuple):
    """What a request asks for, that has a plan."""

    plan: Plan
    query: str
    variables: dict[str, Any] | None
    name: str | None

    @property
    def workload(self) -> Workload:
        return self.plan.classification.of(self.variables or {})


class _Operation(NamedTuple):
    """An operation that is answered here. `body` is that of its request; empty of a mutation, whose answer is not kept,
    and whose body may be megabytes."""

    run: Run
    body: bytes
    query: str
    variables: dict[str, Any] | None
    name: str | None


class Entry:
    """ASGI, around the application that has `endpoint` at PATH."""

    path = PATH

    def __init__(self, behind: ASGIApp, endpoint: Endpoint, hosts: Hosts) -> None:
        self.behind = behind
        self._endpoint = endpoint
        self._hosts = hosts
        self._documents = endpoint.schema.documents
        self._trusted = endpoint.trusted_documents.texts
        self._answers = Answers[bool]()
        self._pages = Answers[Awaitable[bool]](KEPT_PAGE_BYTES)
        """Of history."""
        self._requests = endpoint.requests
        self._finishing = set[asyncio.Future[bytes | None]]()
        endpoint.metrics.answer_bytes.set_function(lambda: self._answers.size + self._pages.size)

        def media_type_of(host: bytes, content_type: bytes, accept: bytes) -> str | None:
            accepted = Accept([accept.decode("latin-1")])
            try:
                require_json(content_type.decode("latin-1"))
            except BadRequest:
                return None
            regular = hosts.allows(host.decode("latin-1")) and not accepted.prefers_event_stream
            return accepted.response_type if regular else None

        # Clients send the same few headers for ever, and reading them takes a dozen calls.
        self._media_type_of = lru_cache(256)(media_type_of)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await (self._socket(scope, receive, send) or self.behind(scope, receive, send))
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        media_type = self._media_type(headers) if len(headers) == len(scope["headers"]) else None
        principal = None if media_type is None else self._principal(headers.get(b"authorization"))
        if media_type is None or principal is None or b"content-encoding" in headers:
            await self.behind(scope, receive, send)
            return
        received, body = await self._endpoint.bodies.receive(receive, principal)
        given_id = headers.get(_REQUEST_ID)
        request_id = (given_id and fit_request_id(given_id.decode("latin-1"))) or f"{getrandbits(128):032x}"
        began = perf_counter()
        is_large = body is not None and len(body) >= LARGE_BYTES
        kept = None if body is None or is_large else self._answers.get(body, principal.scopes)
        if kept is not None:
            self._endpoint.metrics.answered_again(perf_counter() - began)
            await _send(kept, media_type, request_id, send)
            if self._requests.has_each and body is not None:
                self._log_kept(body, perf_counter() - began, scope, request_id, principal)
            return
        context = Context(self._endpoint.services, principal, request_id)
        given = None
        if body is not None:
            given = await self._read_large(body, scope) if is_large else _read_small(body)
        operation = None if body is None or given is None else self._operation(given, body, context)
        if operation is None:
            await self.behind(scope, replaying(received, receive), send)
        else:
            scope.pop(READ, None)
            del received, body  # megabytes, while the operation waits for its turn
            await self._answer(operation, media_type, scope, receive, send)

    def known_head(self, headers: Mapping[bytes, bytes]) -> _Head | None:
        """Of a request for PATH that is whole; null for a head that is not regular."""
        media_type = None if b"content-encoding" in headers else self._media_type(headers)
        if media_type is None:
            return None
        return _Head(headers.get(b"authorization"), b"\r\ncontent-type: %b\r\nx-request-id: " % media_type.encode())

    def answer_again(self, head: _Head, body: bytes) -> bytes | None:
        """Headers and body of the answer with status 200, if it is kept and stands, or is made at once. What is logged
        needs its scope."""
        if self._requests.has_each:
            return None
        principal = self._principal(head.authorization)
        if principal is None:
            return None
        began = perf_counter()
        request_id = f"{getrandbits(128):032x}"
        answer = self._answers.get(body, principal.scopes)
        if answer is not None:
            self._endpoint.metrics.answered_again(perf_counter() - began)
        else:
            answer = self._looked_up(body, Context(self._endpoint.services, principal, request_id))
            if answer is None:
                return None
        return b"content-length: %d%b%b\r\n\r\n%b" % (len(answer), head.lines, request_id.encode(), answer)

    def _looked_up(self, body: bytes, context: Context) -> bytes | None:
        """The answer to a lookup that memory has, and that need not wait for its turn; null for any other request."""
        if (
            len(body) > LONGEST_REQUEST
            or self._endpoint.services.lookups_at() is None
            or not self._endpoint.admission.queue(Workload.LOOKUP).is_free
        ):
            return None
        given = _read_small(body)
        asked = None if given is None else self._asked(given, body, context.principal)
        if asked is None or asked.workload is not Workload.LOOKUP or not asked.plan.cost.is_free:
            return None
        operation = _begun(asked, body, context)
        if operation is None:
            return None
        making = Begun(self._made(operation, is_lookup=True))
        if not making.has_ended:
            # Memory has it, and it waits all the same: nothing is known that does. It is finished, for it may hold
            # something, and asked for again.
            finishing = asyncio.ensure_future(making.rest())
            self._finishing.add(finishing)
            finishing.add_done_callback(self._finishing.discard)
            return None
        if making.result is None:
            # What it failed with leads back to it.
            operation.run.recorded.outcomes.clear()
        return making.result

    def _socket(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[object] | None:
        """What serves a socket; null for one that is not regular. It is open for hours, and each layer around what
        serves it would be held as long."""
        if scope["type"] != "websocket" or scope["path"] != PATH:
            return None
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._hosts.allows(hosts[0]):
            return None
        request_id = fit_request_id(headers.get(REQUEST_ID, "")) or f"{getrandbits(128):032x}"
        scope.setdefault("state", {})["request_id"] = request_id
        return self._endpoint.follow(WebSocket(scope, receive, send))

    def _media_type(self, headers: Mapping[bytes, bytes]) -> str | None:
        """Of the answer; null for headers that are not regular."""
        host, content_type = headers.get(b"host", b""), headers.get(b"content-type", b"")
        accept = headers.get(b"accept", b"")
        if len(host) + len(content_type) + len(accept) > _LONGEST_CACHED:
            return None
        return self._media_type_of(host, content_type, accept)

    def _principal(self, authorization: bytes | None) -> Principal | None:
        """Null for a token that is not good, or cannot be read."""
        try:
            return self._endpoint.authentication.caller(
                None if authorization is None else authorization.decode("latin-1")
            )
        except Exception:  # noqa: BLE001 - whatever it is, the application behind finds it again
            return None

    async def _read_large(self, body: bytes, scope: Scope) -> Any:
        """The JSON, which the application behind finds in the scope; null for what is none."""
        try:
            given = await self._endpoint.bodies.read_json(body, "the body")
        except BadRequest:
            return None
        scope[READ] = (given, len(body))
        return given

    def _operation(self, given: Any, body: bytes, context: Context) -> _Operation | None:
        """Null for what is no operation, and for one without a plan that takes these variables for granted."""
        asked = self._asked(given, body, context.principal)
        return None if asked is None else _begun(asked, body, context)

    def _asked(self, given: Any, body: bytes, principal: Principal) -> _Asked | None:
        """Null for what is no operation, and for one without a plan."""
        try:
            if type(given) is not dict or not given.keys() <= _MEMBERS:
                return None
            query, variables, name = given.get("query"), given.get("variables"), given.get("operationName")
            extensions = given.get("extensions")
            if "documentId" in given:
                query = self._trusted.get(given["documentId"]) if query is None and extensions is None else None
            elif extensions is not None:
                if extensions.keys() != _PERSISTED:
                    return None
                query = self._endpoint.trusted_documents.text_of(given, principal)
            if (
                type(query) is not str
                or (variables is not None and type(variables) is not dict)
                or (name is not None and type(name) is not str)
            ):
                return None
            plan = self._documents.plan(query, name, principal)
            most = self._endpoint.bodies.most
            if plan is None or plan.kind not in _KINDS or (len(body) > most and plan.kind is OperationType.QUERY):
                return None
            return _Asked(plan, query, variables, name)
        except Exception:  # noqa: BLE001 - whatever it is, the application behind finds it again
            return None

    async def _answer(self, operation: _Operation, media_type: str, scope: Scope, receive: Receive, send: Send) -> None:
        run = operation.run
        workload = run.plan.classification.of(operation.variables or {})
        answer: bytes | Response | None
        is_mutation = run.plan.kind is OperationType.MUTATION
        record = begin_record(self._endpoint.metrics, trace_id_in(scope)) if is_mutation else None
        charge = None
        try:
            cost = run.plan.cost
            if not (workload.is_lookup and cost.is_free):
                charge = self._endpoint.costs.take(
                    cost, operation.variables or {}, client_of(run.context.principal, scope)
                )
            work = self._executed(operation, workload, media_type, scope)
            answer = await self._endpoint.admission.run(
                workload, run.context.principal, scope, receive, work, is_finished=is_mutation
            )
        except Exception as error:  # noqa: BLE001 - each has an answer
            record = record or begin_record(self._endpoint.metrics, trace_id_in(scope))
            scope.setdefault("state", {})["request_id"] = run.context.request_id
            if charge is not None and isinstance(error, Overloaded):
                self._endpoint.costs.refund(client_of(run.context.principal, scope), charge.taken)
                charge = None
            answer = self._endpoint.failure(Request(scope, receive), error)
        if not isinstance(answer, bytes):
            record = record or current_record()
        seconds = perf_counter() - run.recorded.started
        if record is not None or seconds >= self._requests.slow_seconds or self._requests.has_each:
            record = record or OperationRecord(self._endpoint.metrics, trace_id_in(scope))
            record.cost = None if charge is None else charge.requested
            context = run.context
            self._requests.ended(
                "http", run.plan.operation, record, seconds, scope, context.request_id, context.principal
            )
        if isinstance(answer, bytes):
            await _send(answer, media_type, run.context.request_id, send, charge)
        elif answer is not None:
            answer.headers[REQUEST_ID] = run.context.request_id
            if charge is not None and charge.taken:
                answer.headers.update(charge.headers())
            await answer(scope, receive, send)

    def _log_kept(self, body: bytes, seconds: float, scope: Scope, request_id: str, principal: Principal) -> None:
        record = OperationRecord(self._endpoint.metrics, trace_id_in(scope))
        operation = self._operation(_read_small(body), body, Context(self._endpoint.services, principal, request_id))
        node = None if operation is None else operation.run.plan.operation
        self._requests.ended("kept", node, record, seconds, scope, request_id, principal)

    async def _executed(
        self, operation: _Operation, workload: Workload, media_type: str, scope: Scope
    ) -> bytes | Response:
        """The answer; without errors in it, its body alone."""
        schema, run = self._endpoint.schema, operation.run
        page = self._pages.find(operation.body, run.context.principal.scopes) if workload is Workload.HISTORY else None
        if page is not None and await schema.stands(run, page.stands):
            page.is_used = True
            return page.body
        answer = await self._made(operation, is_lookup=workload.is_lookup)
        if answer is not None:
            return answer
        if run.plan.kind is not OperationType.MUTATION:
            begin_record(self._endpoint.metrics, trace_id_in(scope))
        result = await schema.complete(run, operation.query, operation.variables, operation.name)
        return await self._endpoint.response(result, media_type)

    async def _made(self, operation: _Operation, *, is_lookup: bool) -> bytes | None:
        """The answer without errors, and kept where that may be; null where graphql-core has to complete what the run
        has recorded."""
        run, scopes = operation.run, operation.run.context.principal.scopes
        memory = self._endpoint.services.memory if is_lookup else None
        reads = None if memory is None else memory.observe()
        whole = False
        try:
            data = await self._endpoint.schema.data(run)
        finally:
            if memory is not None and reads is not None:
                whole = memory.observed(reads)
        if data is None:
            return None
        answer = await encode_in_slices({"data": data}) if run.is_long else encode_json({"data": data})
        if reads is not None and whole:
            if run.shows_position:
                reads.add_position()
            self._answers.put(operation.body, scopes, answer, reads.standing)
        source = run.source
        if isinstance(source, Connection) and source.page.stands is not None:
            self._pages.put(operation.body, scopes, answer, source.page.stands)
        return answer


def _begun(asked: _Asked, body: bytes, context: Context) -> _Operation | None:
    """Null where the plan does not take these variables for granted."""
    plan, query, variables, name = asked
    kept = body if plan.kind is OperationType.QUERY else b""
    try:
        return _Operation(plan.begin(variables, context), kept, query, variables, name)
    except Exception:  # noqa: BLE001 - whatever it is, the application behind finds it again
        return None


async def _send(body: bytes, media_type: str, request_id: str, send: Send, charge: Charge | None = None) -> None:
    headers = [
        (b"content-length", str(len(body)).encode()),
        (b"content-type", media_type.encode()),
        (_REQUEST_ID, request_id.encode()),
    ]
    if charge is not None and charge.taken:
        headers += [(name.encode(), value.encode()) for name, value in charge.headers().items()]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _read_small(body: bytes) -> Any:
    """The JSON; null for what is none."""
    try:
        return read_json(body, "the body")
    except BadRequest:
        return None
