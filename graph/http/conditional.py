"""Entity tags: an answer to GET that its client has already is not sent again, and a lookup not even executed.

A tag is `"<content>.<position>"`. `content` is a digest of what was requested and of the bytes that answered it: while
these are the same, only 304 is sent. `position` is a digest of what was requested and of where in the change stream
lookups are answered from memory; it is left out where an answer depends on more than the shards at a position, or was
not read at a single one. While that is the position, the answer is the same, and nothing is executed.
https://www.rfc-editor.org/rfc/rfc9110#section-13.1.2, docs/decisions/0032-trusted-documents.md.
"""

import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import blake2b
from importlib.metadata import version
from typing import Final

from graph.auth.principal import Principal
from graph.execution.prepared import encode_json
from persistence.model.records import StreamPosition

HEADERS: Final[Mapping[str, str]] = {
    # To be stored by the client alone, for its caller alone, and not to be used without asking.
    "cache-control": "private, no-cache",
    "vary": "accept, authorization",
}
"""Of an answer that has a tag, and of 304 in its place."""

_ANY: Final = "*"

_TAG: Final = re.compile(r'(?:W/)?"([\x21\x23-\x7e\x80-\xff]*)"')

_DIGEST_BYTES: Final = 15


class Condition:
    """`If-None-Match` of one request, and what it requests: document, variables, operation, caller, media type."""

    def __init__(
        self,
        headers: Sequence[str],
        principal: Principal,
        document: str,
        variables: Mapping[str, object] | None,
        operation_name: str | None,
        media_type: str,
    ) -> None:
        given = ",".join(headers).strip()
        self._any = given == _ANY
        self._tags = () if self._any else tuple(_TAG.findall(given))
        caller = [principal.subject, *sorted(principal.scopes)]
        self._question = encode_json([_program(), caller, document, variables or {}, operation_name, media_type])

    def holds_at(self, position: StreamPosition) -> str | None:
        """The tag that the client has of an answer at this position; null if it has none."""
        expected = self._digest(encode_json([position.epoch, position.revision, position.mark.change_id]), position.mark.hash)
        return next((_quoted(tag) for tag in self._tags if tag.partition(".")[2] == expected), None)

    def holds(self, body: bytes, position: StreamPosition | None) -> tuple[str, bool]:
        """The tag of this answer, which was read at the position, and whether the client has the answer already: then
        the tag is the client's."""


def _quoted(tag: str) -> str:
    return f'"{tag}"'
