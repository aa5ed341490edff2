"""GraphiQL from this server's own files: operators' networks are closed, so nothing is fetched from elsewhere.

The page is sent by the endpoint itself, to browsers; its files are below it. What comes from npm lies unmodified in
graphiql_assets/vendor (`make vendor-graphiql`); index.html, page.js, page.css and the examples are this project's.
"""

import functools
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_ASSETS: Final = Path(__file__).parent / "graphiql_assets"

_REFERENCE: Final = re.compile(r'(?<=")graphql/assets/([^"]+)(?=")')

# Scripts only from files of this server. GraphiQL needs the exceptions for styles (its dialogs write <style> elements),
# fonts and images (both inside its style sheet).
PAGE_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "content-security-policy": (
            "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self' 'unsafe-inline'; "
            "font-src data:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "cache-control": "no-cache",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
)
"""To be sent with the page."""


@functools.cache
def graphiql_page() -> str:
    """The page, to be served at `/graphql` under whatever prefix: all its addresses are relative."""
    in_html = json.dumps([*examples().values()]).replace("<", "\\u003c")  # nothing in it can end the script element
    page = (_ASSETS / "index.html").read_text()
    page = _REFERENCE.sub(lambda found: f"{found[0]}?v={_digest(_ASSETS / found[1])}", page)
    return page.replace('id="examples">[]<', f'id="examples">{in_html}<')


@functools.cache
def examples() -> Mapping[str, str]:
    """The documents that open as tabs on a person's first visit, in the order of their files' names."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((_ASSETS / "examples").glob("*.graphql"))}


def graphiql_routes() -> list[BaseRoute]:
    """The page's files, at `/graphql/assets`."""
    return [Mount("/graphql/assets", _ForeverFiles(directory=_ASSETS))]


class _ForeverFiles(StaticFiles):
    """Files that browsers cache for a year: the page names each with a digest of its content."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["cache-control"] = "public, max-age=31536000, immutable"
        response.headers["x-content-type-options"] = "nosniff"
        return response


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]
