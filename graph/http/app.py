"""The ASGI application, assembled from services that are open already."""

from collections.abc import Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Lifespan

from graph.admission import DEFAULT_QUERIES
from graph.auth.tokens import Authentication, NoAuthentication
from graph.codes import Code
from graph.context import Services
from graph.graphiql import graphiql_routes
from graph.health import PATHS, Health
from graph.hosts import AllowedHosts
from graph.http import MeshGraphQL
from graph.metrics import Metrics
from graph.request_ids import RequestIds
from graph.schema import build_schema

MAX_BODY_BYTES: Final = 33_554_432


def create_app(
    services: Services,
    *,
    max_body_bytes: int = MAX_BODY_BYTES,
    allowed_hosts: Sequence[str] = ("*",),
    authentication: Authentication | None = None,
    queries_at_once: int = DEFAULT_QUERIES,
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """The server for these services. It closes nothing: whoever opened them does. Whoever stops it calls
    `app.state.drain()` first, so that event streams end.

    `max_body_bytes` bounds the body of a request and a message on a socket. Requests that are addressed to another
    host than `allowed_hosts` are refused, but for probes and metrics. Without `authentication` everybody may do
    everything. At most `queries_at_once` that are not answered from memory are executed at a time.
    """
    metrics = Metrics()
    endpoint = MeshGraphQL(
        build_schema(metrics), services, metrics, max_body_bytes, authentication or NoAuthentication(), queries_at_once
    )
    app = Starlette(
        routes=[
            Route("/graphql", endpoint),
            WebSocketRoute("/graphql", endpoint),
            *graphiql_routes(),
            *Health(services.store, services.feed, metrics).routes,
        ],
        middleware=[
            Middleware(RequestIds),
            Middleware(AllowedHosts, hosts=allowed_hosts, open_paths=PATHS),
        ],
        exception_handlers={HTTPException: _in_json},
        lifespan=lifespan,
    )
    app.state.drain = endpoint.deliveries.drain
    return app


def _in_json(_request: Request, error: Exception) -> Response:
    """No such path, or not with this method: in JSON, like every other answer."""
    if not isinstance(error, HTTPException):
        raise error
    code = _CODES.get(error.status_code, Code.BAD_REQUEST)
    body = {"errors": [{"message": error.detail, "extensions": {"code": code}}]}
    return JSONResponse(body, error.status_code, error.headers)


_CODES: Final = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED}
