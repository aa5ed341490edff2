"""Which names this server answers to.

A page from elsewhere that has its own name resolve to this machine would otherwise speak to the API with the browser's
blessing (DNS rebinding). Probes know a pod by its address alone, and what they are told is no secret.
"""

import re
from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from graph.codes import Code
from graph.errors import encodable

_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^:@/\[\]\s]+)(?::\d*)?", re.IGNORECASE)


class AllowedHosts:
    """ASGI middleware. `*.example.com` allows every name below it, `*` every name."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str], open_paths: Collection[str] = ()) -> None:
        """`open_paths` are answered whatever host they are asked of, over HTTP."""
        self._app = app
        self._any = "*" in hosts
        self._names = frozenset(host.lower() for host in hosts)
        self._suffixes = tuple(host[1:].lower() for host in hosts if host.startswith("*."))
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if self._any or kind not in ("http", "websocket") or (kind == "http" and scope["path"] in self._open_paths):
            await self._app(scope, receive, send)
            return
        host = Headers(scope=scope).get("host", "")
        if self._allows(host):
            await self._app(scope, receive, send)
        else:
            await _refusal(host)(scope, receive, send)

    def _allows(self, header: str) -> bool:
        parts = _HOST.fullmatch(header)
        if parts is None:
            return False
        name = parts[1].lower()
        return name in self._names or name.endswith(self._suffixes)


def _refusal(host: str) -> JSONResponse:
    # https://www.rfc-editor.org/rfc/rfc9110#section-15.5.20
    message = encodable(
        f"This server does not answer to the host {host!r}. Address it by a name in its setting allowed_hosts "
        "(OMNIRELAY_ALLOWED_HOSTS), or have this one added there."
    )
    body = {"errors": [{"message": message, "extensions": {"code": Code.MISDIRECTED}}]}
    return JSONResponse(body, HTTPStatus.MISDIRECTED_REQUEST)
