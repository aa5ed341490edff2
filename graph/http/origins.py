"""Pages of other origins: which may use the API from a browser, over HTTP as over a WebSocket.

https://fetch.spec.whatwg.org/#http-cors-protocol. No answer allows credentials: a caller is known by its token, which
the page sends itself, and never by a cookie.
"""

import logging
import re
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graph.http.requests import REQUEST_ID

ANY: Final = "*"

PREFLIGHT_SECONDS: Final = 7_200
"""How long a browser may remember that it may: as long as any of them does."""

_METHODS: Final = "GET, HEAD, POST"

_NAMES: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z, -]{1,2048}")
"""Of headers, as a preflight lists them."""

_EXPOSED: Final = ", ".join(
    (
        REQUEST_ID,
        "content-disposition",
        "etag",
        "retry-after",
        "www-authenticate",
        *(f"x-ratelimit-{name}" for name in ("limit", "remaining", "reset", "used")),
    )
)

_MOST_LOGGED: Final = 100
"""Origins, each once: what is sent is not to fill a disk."""

_LONGEST_LOGGED: Final = 200

_log = logging.getLogger(__name__)


def cross_site(headers: Headers) -> bool:
    """Whether a browser sends this for a page of another site. https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header

    A link or an image is enough for that, and needs no permission. Other clients do not send the header.
    """
    return any(value.strip().lower() == "cross-site" for value in headers.getlist("sec-fetch-site"))


class Origins:
    """Those of the setting `allowed_origins`, as browsers write them."""

    def __init__(self, allowed: Collection[str] = ()) -> None:
        self.allowed = frozenset(allowed)
        self._logged: set[str] = set()

    def allows(self, origin: str | None) -> bool:
        """Whether a page of this origin, which is another than the server's, may use the API."""
        return origin is not None and (ANY in self.allowed or origin.lower() in self.allowed)

    def log_refused(self, headers: Headers) -> None:
        """Log the origin of a preflight that is refused, once."""
        origin = headers.get("origin")
        if origin is not None and "access-control-request-method" in headers:
            self.refused(origin)

    def refused(self, origin: str) -> None:
        """Note in the log that a page of this origin may not use the API."""
        if len(self._logged) < _MOST_LOGGED and origin[:_LONGEST_LOGGED] not in self._logged:
            self._logged.add(origin[:_LONGEST_LOGGED])
            _log.warning(
                "a page of the origin %r may not use the API: if it should, add it to the setting allowed_origins "
                "(OMNIRELAY_ALLOWED_ORIGINS)",
                origin[:_LONGEST_LOGGED],
            )


class CrossOrigin:
    """ASGI middleware, around all that answers. Only there where an origin is allowed."""

    def __init__(self, app: ASGIApp, origins: Origins, paths: Collection[str]) -> None:
        """`paths` are what other origins may use."""
        self._app = app
        self._origins = origins
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in self._paths:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        allowed = origin if self._origins.allows(origin) else None
        if allowed is not None and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await Response(status_code=HTTPStatus.NO_CONTENT, headers=_preflight(allowed, scope))(scope, receive, send)
            return

        async def send_allowed(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer.add_vary_header("origin")
                if allowed is not None:
                    answer["access-control-allow-origin"] = allowed
                    answer["access-control-expose-headers"] = _EXPOSED
            await send(message)

        await self._app(scope, receive, send_allowed)


def _preflight(origin: str, scope: Scope) -> Mapping[str, str]:
    """What a page may send: any headers, for it could send them from elsewhere as well."""
    wanted = dict(scope["headers"]).get(b"access-control-request-headers", b"")
    answer = {
        "access-control-allow-origin": origin,
        "access-control-allow-methods": _METHODS,
        "access-control-max-age": str(PREFLIGHT_SECONDS),
        "vary": "origin, access-control-request-headers",
    }
    if _NAMES.fullmatch(wanted):
        answer["access-control-allow-headers"] = wanted.decode("ascii")
    return answer
