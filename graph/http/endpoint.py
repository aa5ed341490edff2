"""GraphQL over HTTP and over WebSockets, on Strawberry's ASGI view.

HTTP follows https://graphql.github.io/graphql-over-http/draft/, whose audits (npm graphql-http) it passes. `requests`
reads a request; this module executes its operation and answers, `websocket` has
sockets, `sse` event streams.
"""

import logging
import math
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final

from graphql import OperationDefinitionNode, get_operation_ast
from graphql import OperationType as Kind
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.http import GraphQLRequestData, process_result
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.subscriptions import GRAPHQL_SSE_PROTOCOL, GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from graph.auth.principal import ANONYMOUS, Principal, Unauthenticated
from graph.auth.tokens import Authentication
from graph.execution.budgets import DEFAULT_COSTS, Charge, CostControl, CostExceeded, CostLimits, requests_cost
from graph.execution.context import Context
from graph.execution.documents import Document
from graph.execution.encoding import encode_in_slices, encode_json
from graph.execution.errors import Code, encodable, retry_after
from graph.execution.metrics import Metrics
from graph.execution.outcomes import begin_record, current_record
from graph.execution.services import Services
from graph.execution.workload import Workload
from graph.http.admission import DEFAULT_PLANS, DEFAULT_READS, AdmissionControl, client_of
from graph.http.bodies import Bodies
from graph.http.conditional import NOT_STORED, Condition
from graph.http.graphiql import graphiql_page
from graph.http.origins import Origins, cross_site
from graph.http.request_log import RequestLog, trace_id_in
from graph.http.requests import (
    EVENT_STREAM,
    GRAPHQL_RESPONSE,
    HTML,
    JSON,
    REQUEST_ID,
    BadRequest,
    operation_of,
    operation_of_url,
    read_accept,
)
from graph.http.socket_adapter import SocketAdapter
from graph.http.sse import LAST_EVENT_ID, EventStream, one_result
from graph.http.trusted_documents import TrustedDocuments
from graph.http.websocket import TransportHandler
from graph.logs import log
from graph.schema.build import MeshSchema
from graph.subscriptions.manager import SubscriptionManager
from graph.subscriptions.operation import Refused, SubscriptionOperation
from persistence.errors import Overloaded

_ALLOWED: Final = {
    "GET": frozenset({OperationType.QUERY}),
    "HEAD": frozenset({OperationType.QUERY}),
    "POST": frozenset({OperationType.QUERY, OperationType.MUTATION}),
}

_SAFE: Final = ("GET", "HEAD")

_DOCUMENT: Final = frozenset({"query", "documentId", "extensions"})
"""The parameters of GET that name one."""

_CONNECTION_INIT_TIMEOUT: Final = timedelta(seconds=10)

_log = logging.getLogger(__name__)


class MeshGraphQL(GraphQL[Context, None]):
    """The endpoint. A browser that sends no query gets GraphiQL."""

    graphql_transport_ws_handler_class = TransportHandler
    websocket_adapter_class = SocketAdapter

    schema: MeshSchema

    def __init__(
        self,
        schema: MeshSchema,
        services: Services,
        metrics: Metrics,
        bodies: Bodies,
        authentication: Authentication,
        trusted_documents: TrustedDocuments,
        reads_at_once: int = DEFAULT_READS,
        plans_at_once: int = DEFAULT_PLANS,
        requests: RequestLog | None = None,
        costs: CostLimits = DEFAULT_COSTS,
        origins: Origins | None = None,
    ) -> None:
        self.origins = origins or Origins()
        super().__init__(
            schema,
            graphql_ide=None,
            subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL, GRAPHQL_SSE_PROTOCOL),
            connection_init_wait_timeout=_CONNECTION_INIT_TIMEOUT,
            max_subscriptions_per_connection=None,  # the handler's own limit comes first
            allowed_origins=tuple(self.origins.allowed),
        )
        # Its line for each handshake of another origin is as long as what the client sends: `Origins` has its own, of a
        # few bytes, once for each of a hundred origins.
        logging.getLogger("strawberry.ws").setLevel(logging.ERROR)
        self.bodies = bodies
        self.services = services
        self.authentication = authentication
        self.trusted_documents = trusted_documents
        self.metrics = metrics
        self.requests = requests or RequestLog()
        self.subscriptions = SubscriptionManager(schema, metrics, services.tracer)
        self.admission = AdmissionControl(metrics, reads_at_once, plans_at_once)
        self.costs = CostControl(costs, schema.documents, lambda why: metrics.operations_over_cost.labels(why).inc())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await super().__call__(scope, receive, send)
            return
        request = Request(scope, receive)
        response: Response | None
        began, record = perf_counter(), begin_record(self.metrics, trace_id_in(scope))
        logged = _Logged()
        try:
            response = await self._answer(request, logged)
        except Exception as error:  # noqa: BLE001 - each has an answer
            response = self.failure(request, error)
        if logged.reached:
            seconds, request_id = perf_counter() - began, request.state.request_id
            transport = "sse" if isinstance(response, EventStream) else "http"
            self.requests.ended(transport, logged.operation, record, seconds, scope, request_id, logged.principal)
        if response is not None:
            if request.method == "HEAD":
                response.body = b""
            await response(scope, receive, send)

    def follow(self, socket: WebSocket) -> Awaitable[object]:
        """Serve a socket until it is closed."""
        return self.run(socket)

    def failure(self, request: Request, error: Exception) -> Response | None:
        """The answer in place of one that could not be given; null where the client has left. A defect is logged."""
        match error:
            case ClientDisconnect():
                return None
            case BadRequest():
                bad = error
            case Unauthenticated():
                bad = _unauthenticated(error)
            case Overloaded():
                bad = _overloaded(error)
            case CostExceeded():
                bad = _cost_exceeded(error)
            case _:
                request_id = request.state.request_id
                _log.error("request %s failed", request_id, exc_info=error)
                message = f"Internal error; report request id {request_id}."
                bad = BadRequest(HTTPStatus.INTERNAL_SERVER_ERROR, Code.INTERNAL, message)
        extensions = {"code": bad.code, **bad.extensions}
        body = {"errors": [{"message": encodable(bad.message), "extensions": extensions}]}
        self.metrics.errors.labels(bad.code).inc()
        if (record := current_record()) is not None:
            record.failed(bad.code)
        accept = read_accept(request)
        if bad.json_status is not None and accept.prefers_event_stream:
            return one_result(encode_json({"data": None, **body}))
        status = bad.json_status if bad.json_status is not None and accept.response_type == JSON else bad.status
        headers = {**(NOT_STORED if request.method in _SAFE else {}), **(bad.headers or {})}
        return Response(encode_json(body), status, headers, accept.response_type)

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:  # noqa: ARG002
        # Of a socket, whose caller is anonymous until `connection_init`.
        return Context(self.services, ANONYMOUS, request.state.request_id, is_encoded=True)

    async def create_websocket_response(self, request: WebSocket, subprotocol: str | None) -> WebSocket:
        await request.accept(subprotocol, [(REQUEST_ID.encode(), request.state.request_id.encode())])
        return request

    def is_websocket_origin_allowed(self, request: WebSocket, origin: str) -> bool:
        if self.origins.allows(origin) or super().is_websocket_origin_allowed(request, origin):
            return True
        self.origins.refused(origin)
        return False

    def encode_json(self, data: object) -> str:
        # Text, not bytes: Strawberry would send bytes to a WebSocket as a binary frame.
        return encode_json(data).decode()

    async def _answer(self, request: Request, logged: "_Logged") -> Response:
        if request.method not in _ALLOWED:
            self.origins.log_refused(request.headers)
            raise _not_allowed("GraphQL takes GET, HEAD and POST", "GET, HEAD, POST")
        is_safe = request.method in _SAFE
        if is_safe and _DOCUMENT.isdisjoint(request.query_params) and read_accept(request).names(HTML):
            return graphiql_page()
        logged.reached = True
        if is_safe and cross_site(request.headers) and not self.origins.allows(request.headers.get("origin")):
            raise _cross_site()
        # Before the body, which is not read for a client without a good token.
        principal = self.caller(request.headers.get("authorization"), request.state.request_id)
        logged.principal = principal
        text_of = partial(self.trusted_documents.text_of, principal=principal)
        given, size = (None, 0) if is_safe else await self.bodies.read(request, principal)
        await self.trusted_documents.read(request.query_params if is_safe else given, principal)
        operation = operation_of_url(request, text_of) if is_safe else operation_of(given, text_of)
        accept = read_accept(request)
        resume_after = request.headers.get(LAST_EVENT_ID)
        context = Context(self.services, principal, request.state.request_id, resume_after, is_encoded=True)
        document, charge = await self._admit(operation, principal, request.scope)
        definition = logged.operation = get_operation_ast(document.node, operation.operation_name)
        self.bodies.check(size, definition)
        streams = accept.names(EVENT_STREAM) and request.method != "HEAD"
        if definition is not None and definition.operation is Kind.SUBSCRIPTION and streams:
            return await self._stream(request, operation, context)
        workload = self.schema.documents.workload(operation.query, operation.operation_name, operation.variables)
        condition, position = None, None
        if is_safe and not accept.prefers_event_stream:
            given = request.headers.getlist("if-none-match")
            condition = Condition(given, operation, principal, accept.response_type)
            position = self.services.lookups_at() if workload.is_lookup else None
        known = None if condition is None or position is None else condition.known_at(position)
        if known is not None:
            self.metrics.lookups_not_modified.inc()
            return known
        work = self._execute(operation, context, _ALLOWED[request.method])
        is_finished = definition is not None and definition.operation is Kind.MUTATION
        result = await self._in_turn(workload, principal, request, work, charge, is_finished=is_finished)
        del document  # held until here: however many others are read while this waits, it is not read again
        headers = {} if charge is None else charge.attach(result, requested=requests_cost(operation.extensions))
        if accept.prefers_event_stream:
            return one_result(await encode_in_slices(process_result(result)), headers)
        response = await self.response(result, accept.response_type)
        response.headers.update(headers)
        if condition is not None and result.errors:
            response.headers.update(NOT_STORED)
        elif condition is not None:
            # If the position is another one than before, the answer may have been read at either.
            response = condition.tagged(response, position if position == self.services.lookups_at() else None)
        return response

    async def _in_turn(
        self,
        workload: Workload,
        principal: Principal,
        request: Request,
        work: Coroutine[Any, Any, ExecutionResult],
        charge: Charge | None,
        *,
        is_finished: bool,
    ) -> ExecutionResult:
        """As `AdmissionControl.run`; what is refused there costs nothing."""
        scope, receive = request.scope, request.receive
        try:
            return await self.admission.run(workload, principal, scope, receive, work, is_finished=is_finished)
        except Overloaded:
            self.costs.refund(client_of(principal, scope), 0 if charge is None else charge.taken)
            raise

    async def _admit(
        self, operation: GraphQLRequestData, principal: Principal, scope: Scope
    ) -> tuple[Document, Charge | None]:
        """Its document, and what it was charged for. Raises CostExceeded, Overloaded."""
        name, client = operation.operation_name, client_of(principal, scope)
        document, charge = await self.costs.admit(operation.query or "", name, operation.variables, principal, client)
        if charge is not None and (record := current_record()) is not None:
            record.cost = charge.requested
        return document, charge

    async def response(self, result: ExecutionResult, media_type: str) -> Response:
        """The answer of an operation that was executed, or refused."""
        body = process_result(result)
        refused = result.data is None and all(error.path is None for error in result.errors or ())
        if refused:
            # Never executed. The absence of `data` distinguishes that from an answer that is null.
            del body["data"]
        status = _status_of_refusal(result) if refused and media_type == GRAPHQL_RESPONSE else HTTPStatus.OK
        headers = retry_after(result.errors) if result.errors else None
        return Response(await encode_in_slices(body), status, headers, media_type)

    async def _execute(
        self, operation: GraphQLRequestData, context: Context, allowed: frozenset[OperationType]
    ) -> ExecutionResult:
        """Raises BadRequest for an operation that is not there, or of a type that is not allowed here."""
        try:
            return await self.schema.execute(
                operation.query,
                variable_values=operation.variables,
                context_value=context,
                operation_name=operation.operation_name,
                allowed_operation_types=allowed,
                operation_extensions=operation.extensions,
            )
        except CannotGetOperationTypeError as error:
            raise BadRequest(HTTPStatus.BAD_REQUEST, Code.OPERATION_NOT_FOUND, error.as_http_error_reason()) from None
        except InvalidOperationTypeError as error:
            raise _wrong_transport(error.operation_type) from None

    def caller(self, authorization: object, request_id: str) -> Principal:
        """The principal of this authorization. Raises Unauthenticated, which is logged and counted here."""
        try:
            return self.authentication.caller(authorization)
        except Unauthenticated as refused:
            refusal = {"code": Code.UNAUTHENTICATED, "why": str(refused), "request_id": request_id}
            log(_log, logging.INFO, "refusal", refusal)
            self.metrics.callers_refused.inc()
            raise

    async def _stream(self, request: Request, operation: GraphQLRequestData, context: Context) -> Response:
        opened = await self.subscriptions.open(
            operation.query or "", operation.variables, operation.operation_name, context
        )
        if isinstance(opened, SubscriptionOperation):
            return EventStream(self.subscriptions, opened, context)
        if isinstance(opened, Refused):
            return one_result(encode_json({"data": None, "errors": [error.formatted for error in opened.errors]}))
        # Not valid: executing it returns why.
        allowed = _ALLOWED[request.method] | {OperationType.SUBSCRIPTION}
        return one_result(encode_json(process_result(await self._execute(operation, context, allowed))))


@dataclass(slots=True)
class _Logged:
    """What is known so far of a request, for the log. `reached`: it is more than a request for a page."""

    reached: bool = False
    operation: OperationDefinitionNode | None = None
    principal: Principal = ANONYMOUS


def _cross_site() -> BadRequest:
    return BadRequest(
        HTTPStatus.FORBIDDEN,
        Code.CROSS_SITE,
        "a page of another site has sent this (Sec-Fetch-Site: cross-site), and nothing is executed for it by GET",
    )


def _status_of_refusal(result: ExecutionResult) -> HTTPStatus:
    forbidden = any((error.extensions or {}).get("code") == Code.FORBIDDEN for error in result.errors or ())
    return HTTPStatus.FORBIDDEN if forbidden else HTTPStatus.BAD_REQUEST


def _overloaded(overloaded: Overloaded) -> BadRequest:
    headers = {"retry-after": str(math.ceil(overloaded.retry_after))}
    extensions = {"retryAfter": overloaded.retry_after}
    return BadRequest(HTTPStatus.SERVICE_UNAVAILABLE, overloaded.code, str(overloaded), headers, extensions)


def _cost_exceeded(refused: CostExceeded) -> BadRequest:
    # https://www.rfc-editor.org/rfc/rfc6585#section-4, but where no time would help.
    never = refused.retry_after is None
    status = HTTPStatus.BAD_REQUEST if never else HTTPStatus.TOO_MANY_REQUESTS
    json_status = HTTPStatus.OK if never else None
    return BadRequest(status, refused.code, str(refused), refused.headers, refused.extensions, json_status)


def _unauthenticated(refused: Unauthenticated) -> BadRequest:
    # https://www.rfc-editor.org/rfc/rfc6750#section-3: no error is named to a client that sent no token.
    error = f', error="invalid_token", error_description="{refused}"' if refused.shown else ""
    headers = {"www-authenticate": f'Bearer realm="omnirelay"{error}'}
    return BadRequest(HTTPStatus.UNAUTHORIZED, Code.UNAUTHENTICATED, str(refused), headers)


def _not_allowed(message: str, methods: str) -> BadRequest:
    return BadRequest(HTTPStatus.METHOD_NOT_ALLOWED, Code.METHOD_NOT_ALLOWED, message, {"allow": methods})


def _wrong_transport(operation_type: OperationType) -> BadRequest:
    if operation_type is OperationType.MUTATION:
        return _not_allowed("a mutation must be sent by POST", "POST")
    return BadRequest(
        HTTPStatus.BAD_REQUEST,
        Code.SUBSCRIPTION_TRANSPORT,
        "a subscription needs a WebSocket (graphql-transport-ws), or a request that accepts text/event-stream",
    )
