"""GraphiQL from this server's own files: operators' networks are closed, so nothing is fetched from elsewhere.

The page is sent by the endpoint itself, to browsers; its files are below it. `make graphiql` builds them into
graphiql_assets, and they are committed: of most there are the compressed forms alone.
"""

import gzip
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from mimetypes import guess_type
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from graph.http.requests import accepted_encodings
from graph.operations import operation

_ASSETS: Final = Path(__file__).parent / "graphiql_assets"

# Scripts and workers only from files of this server. Style elements are written by scripts of the page, which know the
# nonce; the editor places each line by a style attribute in HTML, and its style sheet holds small images.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; "
    "style-src-elem 'self' 'nonce-{nonce}'; style-src-attr 'unsafe-inline'; font-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_NONCE_BYTES: Final = 16

_FILE_HEADERS: Final = {
    "cache-control": "public, max-age=31536000, immutable",
    "vary": "accept-encoding",
    "x-content-type-options": "nosniff",
}

_SUFFIXES: Final = {"br": ".br", "gzip": ".gz"}
"""By encoding, as clients name it; the smallest first."""


@dataclass(frozen=True, slots=True)
class Tab:
    """An operation of this program, as the page opens with it on a person's first visit.

    `variables` is JSON in which comments are allowed.
    """

    operation: str
    variables: str


TABS: Final = (
    Tab("ListShards", '{\n  "filter": { "namespace": "orders" },\n  "first": 20\n}'),
    Tab("ShardWithHistory", '{\n  "namespace": "orders",\n  "shardId": "orders-007"\n}'),
    Tab(
        "WatchShards",
        '{\n  // From now on; with a cursor of ListShards, everything since then first.\n  "after": null\n}',
    ),
    Tab(
        "UpdateShard",
        """{
  "input": {
    "namespace": "orders",
    "shardId": "orders-007",
    // No shard is at version 0: the answer is a conflict. With the version that it names, the shard moves.
    "expectedVersion": "0",
    "ownerNodeId": "node-eu-2",
    "change": {
      "actor": "me",
      "reason": "to see it move",
      "changeTicket": "CHG-1"
    }
  }
}""",
    ),
    Tab("ExplainShard", '{\n  "namespace": "orders",\n  "shardId": "orders-007"\n}'),
    Tab("NamespaceGovernance", '{\n  "name": "orders"\n}'),
)
"""Reading, live, a change with its conflict, placement, governance; of names that the demo mesh has."""


def graphiql_page() -> HTMLResponse:
    """The page, to be served at `/graphql` under whatever prefix: all its addresses are relative."""
    nonce = secrets.token_urlsafe(_NONCE_BYTES)
    headers = {
        "content-security-policy": _POLICY.format(nonce=nonce),
        "cache-control": "no-store",  # a nonce is of one answer
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    return HTMLResponse(_html().replace("{nonce}", nonce), headers=headers)


def graphiql_routes() -> list[BaseRoute]:
    """The page's files, at `/graphql/assets`, which browsers keep: each has a digest of its content in its name."""
    return [Route("/graphql/assets/{name}", _file)]


@cache
def _html() -> str:
    tabs = [{"query": operation(tab.operation), "variables": tab.variables} for tab in TABS]
    in_html = json.dumps(tabs).replace("<", "\\u003c")  # nothing in it can end the script element
    page = (_ASSETS / "index.html").read_text(encoding="utf-8")
    return page.replace('"./assets/', '"graphql/assets/').replace('id="tabs">[]<', f'id="tabs">{in_html}<')


def _file(request: Request) -> Response:
    # No coroutine, so that it runs in a thread: files are read, and megabytes unpacked for a client that takes no gzip.
    forms = _names().get(name := request.path_params["name"])
    if forms is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    accepted = accepted_encodings(request.headers.get("accept-encoding", ""))
    encoding = next((each for each in _SUFFIXES if each in accepted and each in forms), "")
    headers = {**_FILE_HEADERS, **({"content-encoding": encoding} if encoding else {})}
    media_type = "text/javascript" if name.endswith(".js") else guess_type(name)[0] or "application/octet-stream"
    return Response(_content(forms, encoding), headers=headers, media_type=media_type)


@cache
def _names() -> Mapping[str, Mapping[str, Path]]:
    """By name the files that hold it: by encoding, the file itself by an empty string."""
    found: dict[str, dict[str, Path]] = {}
    encodings: dict[str, str] = {suffix: encoding for encoding, suffix in _SUFFIXES.items()}
    for path in (_ASSETS / "assets").iterdir():
        encoding = encodings.get(path.suffix, "")
        found.setdefault(path.stem if encoding else path.name, {})[encoding] = path
    return found


def _content(forms: Mapping[str, Path], encoding: str) -> bytes:
    if encoding in forms:
        return forms[encoding].read_bytes()
    return gzip.decompress(forms["gzip"].read_bytes())
