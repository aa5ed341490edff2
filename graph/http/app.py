"""The ASGI application, assembled from open services, and its middleware: request ids and allowed hosts."""

import re
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from prometheus_client import Metric
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send

from graph.auth.tokens import Authentication, NoAuthentication
from graph.execution.budgets import DEFAULT_COSTS, CostLimits
from graph.execution.errors import Code, encodable
from graph.execution.limits import MAX_CHARACTERS
from graph.execution.metrics import Metrics
from graph.execution.services import Services
from graph.http.admission import DEFAULT_PLANS, DEFAULT_READS
from graph.http.audit_export import PATH as AUDIT_EXPORT
from graph.http.audit_export import AuditExport
from graph.http.bodies import Bodies
from graph.http.dashboard import dashboard_routes
from graph.http.endpoint import MeshGraphQL
from graph.http.entry import PATH, Entry
from graph.http.graphiql import graphiql_routes
from graph.http.health import PATHS, Health
from graph.http.origins import CrossOrigin, Origins
from graph.http.request_log import SLOW_SECONDS, RequestLog
from graph.http.requests import REQUEST_ID, fit_request_id
from graph.http.traced_requests import TracedRequests
from graph.http.trusted_documents import TrustedDocuments
from graph.operations import ManifestEntry, Trust
from graph.schema.build import build_schema

MAX_BODY_BYTES: Final = 1_048_576

MAX_MUTATION_BYTES: Final = 16_777_216

_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^:@/\[\]\s]+)(?::\d*)?", re.IGNORECASE)

_CODES: Final = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED}


def create_app(
    services: Services,
    *,
    max_body_bytes: int = MAX_BODY_BYTES,
    max_mutation_bytes: int = MAX_MUTATION_BYTES,
    allowed_hosts: Sequence[str] = ("*",),
    authentication: Authentication | None = None,
    reads_at_once: int = DEFAULT_READS,
    plans_at_once: int = DEFAULT_PLANS,
    trusted_documents: Trust = "prefer",
    added_documents: Sequence[ManifestEntry] = (),
    document_characters: int = MAX_CHARACTERS,
    costs: CostLimits = DEFAULT_COSTS,
    lifespan: Lifespan[Starlette] | None = None,
    exposition: Callable[[], Awaitable[bytes]] | None = None,
    slow_request_seconds: float = SLOW_SECONDS,
    allowed_origins: Sequence[str] = (),
) -> Starlette:
    """The server for these services, which it does not close. Before it is stopped `app.state.drain()` is to be called,
    so that event streams end; once it is ready `app.state.prepare()` may be awaited, so that the first use of a trusted
    document is as fast as the next. `app.state.kept_answers` answers requests without being called, where nothing is
    around it: the web server's `RepeatedHeads`.

    `max_body_bytes` bounds the body of a request and a message on a socket, `max_mutation_bytes` one that is a mutation
    of a caller that may write. Requests that are addressed to another
    host than `allowed_hosts` are refused, but for probes and metrics. Without `authentication` every caller may do
    everything. At most `reads_at_once` operations that are not answered from memory read at a time, half of them
    history, and at most `plans_at_once` plan. Trusted documents are the program's own and `added_documents`; raises
    ManifestError for one that cannot be. A document has at most `document_characters`, ten times as many where it is
    trusted, and asks for no more than `costs` allow. `exposition` returns what /metrics answers in place of what is
    counted here; `app.state.snapshot(labels)` returns that then. Requests that take `slow_request_seconds` or longer
    are logged as such. Pages of `allowed_origins` may use the API beside the server's own.
    """
    metrics, origins = Metrics(), Origins(allowed_origins)
    schema = build_schema(metrics, document_characters)
    documents = TrustedDocuments(schema.documents, trusted_documents, added_documents)
    endpoint = MeshGraphQL(
        schema,
        services,
        metrics,
        Bodies(max_body_bytes, max_mutation_bytes),
        authentication or NoAuthentication(),
        documents,
        reads_at_once,
        plans_at_once,
        RequestLog(slow_request_seconds, services.tracer),
        costs,
        origins,
    )
    health = Health(services, metrics, exposition)
    names = HostNames(allowed_hosts)
    app = Starlette(
        routes=[
            Route(PATH, endpoint),
            WebSocketRoute(PATH, endpoint),
            Route(AUDIT_EXPORT, AuditExport(endpoint)),
            *graphiql_routes(),
            *dashboard_routes(),
            *health.routes,
        ],
        middleware=[
            Middleware(RequestIds),
            Middleware(AllowedHosts, names=names, open_paths=PATHS),
        ],
        exception_handlers={HTTPException: _in_json},
        lifespan=lifespan,
    )
    entry = Entry(app.build_middleware_stack(), endpoint, names)
    outer: ASGIApp = CrossOrigin(entry, origins, [PATH, AUDIT_EXPORT]) if origins.allowed else entry
    app.middleware_stack = TracedRequests(outer, services.tracer, PATH) if services.tracer.is_on else outer
    app.state.kept_answers = entry if app.middleware_stack is entry else None
    app.state.drain = endpoint.subscriptions.drain
    app.state.prepare = documents.prepare

    async def snapshot(process: Mapping[str, str]) -> list[Metric]:
        await health.refresh()
        return metrics.snapshot(process)

    app.state.snapshot = snapshot
    return app


def _in_json(_request: Request, error: Exception) -> Response:
    """No such path, or not with this method: in JSON, like every other answer."""
    if not isinstance(error, HTTPException):
        raise error
    code = _CODES.get(error.status_code, Code.BAD_REQUEST)
    body = {"errors": [{"message": error.detail, "extensions": {"code": code}}]}
    return JSONResponse(body, error.status_code, error.headers)


class RequestIds:
    """ASGI middleware, the outermost. Every request has an id: the caller's own if it is fit to be logged, else a new
    one. It is `request.state.request_id`, and is in the header of the response, in masked errors, and in the log beside
    what they mask.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = fit_request_id(Headers(scope=scope).get(REQUEST_ID, "")) or uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        # Of a socket every frame would pass here: what accepts or refuses it sends the header.
        await self._app(scope, receive, send_with_id if scope["type"] == "http" else send)


class HostNames:
    """The names that a server answers to. `*.example.com` allows every name below it, `*` every name."""

    def __init__(self, names: Sequence[str]) -> None:
        self._any = "*" in names
        self._names = frozenset(name.lower() for name in names)
        self._suffixes = tuple(name[1:].lower() for name in names if name.startswith("*."))

    def allows(self, header: str) -> bool:
        """Whether a request may be addressed to this value of a `Host` header."""
        if self._any:
            return True
        parts = _HOST.fullmatch(header)
        if parts is None:
            return False
        name = parts[1].lower()
        return name in self._names or name.endswith(self._suffixes)


class AllowedHosts:
    """ASGI middleware.

    A page from elsewhere that has its own name resolve to this machine could otherwise send requests to the API from
    the browser of an operator (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, names: HostNames, open_paths: Collection[str] = ()) -> None:
        """`open_paths` are answered over HTTP whatever the host: probes reach a pod by its address alone, and the
        answers are no secret."""
        self._app = app
        self._names = names
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        hosts = Headers(scope=scope).getlist("host") or [""]
        if len(hosts) > 1:
            # https://www.rfc-editor.org/rfc/rfc9112#section-3.2: a proxy before this server may go by the other one.
            await _two_hosts(scope["state"]["request_id"])(scope, receive, send)
        elif (kind == "http" and scope["path"] in self._open_paths) or self._names.allows(hosts[0]):
            await self._app(scope, receive, send)
        else:
            await _misdirected(hosts[0], scope["state"]["request_id"])(scope, receive, send)


def _two_hosts(request_id: str) -> JSONResponse:
    error = {"message": "The request has more than one Host header.", "extensions": {"code": Code.BAD_REQUEST}}
    return JSONResponse({"errors": [error]}, HTTPStatus.BAD_REQUEST, {REQUEST_ID: request_id})


def _misdirected(host: str, request_id: str) -> JSONResponse:
    # https://www.rfc-editor.org/rfc/rfc9110#section-15.5.20
    message = encodable(
        f"This server does not answer to the host {host!r}. Address it by a name in its setting allowed_hosts "
        "(OMNIRELAY_ALLOWED_HOSTS), or have this one added there."
    )
    body = {"errors": [{"message": message, "extensions": {"code": Code.MISDIRECTED}}]}
    return JSONResponse(body, HTTPStatus.MISDIRECTED_REQUEST, {REQUEST_ID: request_id})
