"""A span for each request over HTTP, below that of its caller. Around the application where there is tracing at all."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graph.http.request_log import traceparent_of
from persistence.tracing import Tracer

_EVENT_STREAM: Final = b"text/event-stream"


class TracedRequests:
    """ASGI. The requests for `path` have a span; that of an event stream ends when the stream begins."""

    def __init__(self, app: ASGIApp, tracer: Tracer, path: str) -> None:
        self._app = app
        self._tracer = tracer
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return
        traceparent = traceparent_of(scope)
        parent = None if traceparent is None else self._tracer.from_header(traceparent)
        span = self._tracer.span("operation", parent or self._tracer.root, transport="http")
        span.__enter__()
        ended = False

        def end() -> None:
            nonlocal ended
            if not ended:
                ended = True
                span.__exit__(None, None, None)

        async def send_and_look(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._tracer.annotate(**{"http.response.status_code": message["status"]})
                headers = dict(message.get("headers", ()))
                if headers.get(b"content-type", b"").startswith(_EVENT_STREAM):
                    end()
            await send(message)

        try:
            await self._app(scope, receive, send_and_look)
        finally:
            end()
