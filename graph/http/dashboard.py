"""The dashboard, from this server's own files: built by `make dashboard`, in dashboard_assets, and committed.

A browser that navigates to one of its addresses is sent the page, whichever it is; every other client finds nothing
there, as before there was a page. Files carry a digest of their content in their names, so browsers keep them for ever,
and lie there compressed ahead.
"""

from collections.abc import Mapping
from functools import cache, lru_cache
from http import HTTPStatus
from mimetypes import guess_type
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Final, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from graph.http.requests import HTML, accepted_encodings, read_accept

_ASSETS: Final = Path(__file__).parent / "dashboard_assets"

_FOLDER: Final = "dashboard"
"""Of the files, in `dashboard_assets` and in addresses."""

PAGES: Final = (
    "/",
    "/live",
    "/shards",
    "/shards/{namespace}/{shard_id:path}",
    "/time",
    "/plans",
    "/plans/{plan_id}",
    "/governance",
)
"""The addresses that are answered with the page; what is shown there, the page decides."""

PAGE_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "content-security-policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "cache-control": "no-cache",
        "referrer-policy": "no-referrer",
        "vary": "accept",
        "x-content-type-options": "nosniff",
    }
)
"""To be sent with the page."""

_FILE_HEADERS: Final = {
    "cache-control": "public, max-age=31536000, immutable",
    "vary": "accept-encoding",
    "x-content-type-options": "nosniff",
}

_ENCODINGS: Final = (("br", ".br"), ("gzip", ".gz"))
"""As clients name them, the smallest first; and the suffix of the file."""


class _File(NamedTuple):
    media_type: str
    contents: Mapping[str, bytes]
    """By encoding, the file itself by an empty string."""


def dashboard_routes() -> list[BaseRoute]:
    return [
        *(Route(path, _page) for path in PAGES),
        Route(f"/{_FOLDER}/{{name}}", _file),
    ]


async def _page(request: Request) -> Response:
    if not read_accept(request).names(HTML):
        raise HTTPException(HTTPStatus.NOT_FOUND, headers={"vary": "accept"})
    # As it was sent: a slash in a shard's id is %2F, and no folder.
    sent: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    depth = sent.partition(b"?")[0].count(b"/") - 1 - request.scope.get("root_path", "").count("/")
    return HTMLResponse(_html(depth), headers=PAGE_HEADERS)


async def _file(request: Request) -> Response:
    file = _files().get(request.path_params["name"])
    if file is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    accepted = accepted_encodings(request.headers.get("accept-encoding", ""))
    encoding = next((name for name, _ in _ENCODINGS if name in accepted and name in file.contents), "")
    headers = {**_FILE_HEADERS, **({"content-encoding": encoding} if encoding else {})}
    return Response(file.contents[encoding], headers=headers, media_type=file.media_type)


@lru_cache(maxsize=64)
def _html(depth: int) -> str:
    """The page for an address so many folders below the root: its own addresses are relative, for a proxy may have put
    the server behind a prefix."""
    page = (_ASSETS / "index.html").read_text(encoding="utf-8")
    return page.replace(f'"./{_FOLDER}/', f'"{"../" * depth}{_FOLDER}/')


@cache
def _files() -> Mapping[str, _File]:
    """By name; half a megabyte, read when a page is first asked for."""
    files = {}
    suffixes = {suffix for _, suffix in _ENCODINGS}
    for path in sorted((_ASSETS / _FOLDER).iterdir()):
        if PurePosixPath(path.name).suffix in suffixes:
            continue
        contents = {"": path.read_bytes()}
        for encoding, suffix in _ENCODINGS:
            compressed = path.with_name(path.name + suffix)
            if compressed.exists():
                contents[encoding] = compressed.read_bytes()
        media_type = guess_type(path.name)[0] or "text/plain"
        files[path.name] = _File("text/javascript" if path.suffix == ".js" else media_type, contents)
    return files
