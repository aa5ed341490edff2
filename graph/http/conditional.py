"""Entity tags: an answer to GET that its client has already is not sent again, and a lookup not even executed.

A tag is `"<content>.<position>"`. `content` is a digest of what was requested and of the bytes that answered it: while
these are the same, 304 is sent in their place. `position` is a digest of what was requested and of where in the change
stream lookups were answered from memory; it is left out where an answer may depend on more than that. While lookups are
answered there, the answer is the same, and is not made. Nothing is remembered, so any server understands any tag.
https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2, docs/decisions/0032-trusted-documents.md.
"""

import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import blake2b
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from starlette.responses import Response
from strawberry.http import GraphQLRequestData

from graph.auth.principal import Principal
from graph.execution.encoding import encode_json
from persistence.model.records import StreamPosition

HEADERS: Final[Mapping[str, str]] = {
    # A client stores it for itself and this caller, and asks each time whether it still is the answer.
    "cache-control": "private, no-cache",
    "vary": "accept, authorization",
}
"""Of an answer that has a tag, and of 304 in place of one."""

NOT_STORED: Final[Mapping[str, str]] = {"cache-control": "no-store"}
"""Of an answer to GET that has no tag: there are errors in it."""

_ANY: Final = "*"

_TAG: Final = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
"""Compared weakly, so with or without `W/`."""

_DIGEST_BYTES: Final = 15


class Condition:
    """The `If-None-Match` headers of one request, and what it requests."""

    def __init__(
        self, headers: Sequence[str], operation: GraphQLRequestData, principal: Principal, media_type: str
    ) -> None:
        given = ",".join(headers).strip()
        self._tags = (_ANY,) if given == _ANY else tuple(_TAG.findall(given))
        # In the order they came: JSON of the same variables in another order is another request, at worst.
        named = [operation.query, operation.variables or {}, operation.operation_name, media_type]
        caller = [principal.subject, *sorted(principal.scopes)]
        self._question = encode_json([_program(), *named, *caller])

    def known_at(self, position: StreamPosition) -> Response | None:
        """304 if the client has the answer as of this position."""
        suffix = f".{self._at(position)}"
        return next((_not_modified(tag) for tag in self._tags if tag.endswith(suffix)), None)

    def tagged(self, answer: Response, position: StreamPosition | None) -> Response:
        """This answer, which has no errors, with its tag; 304 if the client has it. Null for the position where it may
        depend on more."""
        content = self._digest(bytes(answer.body))
        for tag in self._tags:
            if tag == _ANY or tag.partition(".")[0] == content:
                # With the tag of the client, which is that of what it has stored.
                return _not_modified(tag if tag != _ANY else self._tag(content, position))
        answer.headers.update({"etag": f'"{self._tag(content, position)}"', **HEADERS})
        return answer

    def _tag(self, content: str, position: StreamPosition | None) -> str:
        return content if position is None else f"{content}.{self._at(position)}"

    def _at(self, position: StreamPosition) -> str:
        mark = position.mark
        return self._digest(encode_json([position.epoch, position.revision, mark.change_id, mark.hash.hex()]))

    def _digest(self, content: bytes) -> str:
        digest = blake2b(content, digest_size=_DIGEST_BYTES, key=blake2b(self._question).digest())
        return urlsafe_b64encode(digest.digest()).decode()


def _not_modified(tag: str) -> Response:
    return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"etag": f'"{tag}"', **HEADERS})


@cache
def _program() -> str:
    """Another version may answer otherwise."""
    try:
        return version("omnirelay-shards")
    except PackageNotFoundError:
        return ""
