"""Which document a request is for: its text, the id of a trusted one, or the hash of one that a client has registered.

`documentId` is that of https://github.com/graphql/graphql-over-http, appendix Persisted Documents: `sha256:` and the
SHA-256 of the text in hex, the same without the prefix, or what a manifest has. `extensions.persistedQuery` is that of
https://www.apollographql.com/docs/apollo-server/performance/apq: messages and codes are the ones its clients compare.
docs/decisions/0032-trusted-documents.md.
"""

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from graph.auth.principal import Principal, Scope
from graph.execution.authorization import introspects_only
from graph.execution.documents import DocumentCache
from graph.execution.errors import Code
from graph.http.requests import BadRequest
from graph.operations import SHA256, ManifestEntry, ManifestError, Trust, own_manifest, sha256_hex

REGISTERED_BYTES: Final = 8 * 1024 * 1024

LONGEST_REGISTERED: Final = 65_536

INTROSPECTION: Final = Scope.ADMIN
"""Needed for documents that are not trusted, where only trusted ones are taken."""

_BYTES_AN_ENTRY: Final = 300
"""Of the hash and the dictionary."""

_APQ_VERSION: Final = 1


class TrustedDocuments:
    """Of one application. `texts` has the trusted documents by each of their ids; empty where `trust` is `off`."""

    def __init__(self, documents: DocumentCache, trust: Trust = "prefer", added: Sequence[ManifestEntry] = ()) -> None:
        """The program's own, and those that are added, which are validated. Raises ManifestError."""
        self.trust: Final = trust
        self._documents = documents
        added = () if trust == "off" else added
        self._own = () if trust == "off" else tuple(own_manifest())
        self.texts: Final = _by_id((*self._own, *added))
        self._trusted = frozenset(self.texts.values())
        documents.trust(self._trusted, required=trust == "require")
        for entry in added:
            self._require_valid(entry)
        self._registered = RegisteredDocuments()

    def text_of(self, given: Mapping[str, Any], principal: Principal) -> str:
        """The text of the document of a request, whose `extensions` are an object or null; it may be none of GraphQL.
        Raises BadRequest."""
        text, identity = given.get("query"), given.get("documentId")
        persisted = (given.get("extensions") or {}).get("persistedQuery")
        if not isinstance(text, str | None):
            raise _malformed("`query` must be a string that holds a GraphQL document")
        if not text and (identity is not None or persisted is not None):
            text = None
        if self.trust == "off":
            # What comes with a text is not read, as if this server did not know of it.
            if text is None and identity is not None:
                message = "`documentId` is not supported by this server (trusted_documents is off); send `query`"
                raise _not_persisted(Code.PERSISTED_QUERY_NOT_SUPPORTED, message)
            if text is None and persisted is not None:
                raise _not_persisted(Code.PERSISTED_QUERY_NOT_SUPPORTED, "PersistedQueryNotSupported")
        else:
            if identity is not None:
                text = self._identified(identity, text)
            if persisted is not None:
                text = self._persisted(_hash_of(persisted), text)
        if text is None:
            raise _malformed("`query` must be a string that holds a GraphQL document, or `documentId` the id of one")
        if self.trust == "require" and text not in self._trusted and not self._introspects(text, principal):
            raise _not_trusted("the document")
        return text

    async def read(self, given: Any, principal: Principal) -> None:
        """Read beside the event loop what `text_of` has to look into: the document of a caller that may send one which
        is not trusted. Raises Overloaded."""
        text = given.get("query") if isinstance(given, Mapping) else None
        if self.trust == "require" and isinstance(text, str) and INTROSPECTION in principal.scopes:
            await self._documents.read(text)

    async def prepare(self) -> None:
        """Validate the program's own, and compile all, one in a turn of the event loop: until then the first use of
        each takes some milliseconds more. For when the server is ready, which would be 0.3 s later. Raises
        ManifestError.
        """
        for entry in self._own:
            self._require_valid(entry)
            await asyncio.sleep(0)
        for text in self._trusted:
            self._documents.prepare(text)
            await asyncio.sleep(0)

    def _require_valid(self, entry: ManifestEntry) -> None:
        if problems := self._documents.problems_of(entry.text):
            raise ManifestError(f"{entry.where}: {problems[0].message}")

    def _identified(self, identity: Any, text: str | None) -> str:
        """The document of this `documentId`; the text, if there is one, must be that."""
        if not isinstance(identity, str) or not identity:
            raise _malformed("`documentId` must be a string that is not empty")
        known = self.texts.get(identity)
        if text is None:
            if known is None and self.trust == "require":
                raise _not_trusted(f"the document of `documentId` {identity!r}")
            if known is None:
                message = f"`documentId`: there is no document {identity!r}; send `query`"
                raise _not_persisted(Code.PERSISTED_QUERY_NOT_FOUND, message)
            return known
        # Of an id that is not known, only a digest can be held against the text.
        if known is not None:
            fits = text == known
        else:
            fits = not identity.startswith(SHA256) or identity == SHA256 + sha256_hex(text)
        if not fits:
            raise _malformed("`documentId` is not the id of `query`")
        return text

    def _persisted(self, digest: str, text: str | None) -> str:
        """The document of this hash; the text, if there is one, is registered as that."""
        known = self.texts.get(digest)
        if text is None:
            known = known or self._registered.get(digest)
            if known is None and self.trust == "require":
                raise _not_trusted("the document of `extensions.persistedQuery`")
            if known is None:
                raise _not_persisted(Code.PERSISTED_QUERY_NOT_FOUND, "PersistedQueryNotFound")
            return known
        if text != known:
            if digest != sha256_hex(text):
                raise _malformed("`extensions.persistedQuery`: provided sha does not match query")
            if self.trust == "prefer":
                self._registered.add(digest, text)
        return text

    def _introspects(self, text: str, principal: Principal) -> bool:
        """A document of any other caller is not even parsed, and one that was not `read` not here."""
        if INTROSPECTION not in principal.scopes or self._documents.to_read(text):
            return False
        document = self._documents.valid(text)
        return document is not None and introspects_only(document.node)


class RegisteredDocuments:
    """The texts that clients have registered and used last, by their SHA-256: at most 8 MiB, 65,536 characters each.

    They are of this process: in another one a client registers them again, as it does once they are forgotten.
    """

    def __init__(self) -> None:
        self._texts: OrderedDict[str, str] = OrderedDict()
        self.bytes = 0

    def get(self, digest: str) -> str | None:
        if digest in self._texts:
            self._texts.move_to_end(digest)
        return self._texts.get(digest)

    def add(self, digest: str, text: str) -> None:
        if len(text) > LONGEST_REGISTERED or self.get(digest) is not None:
            return
        self._texts[digest] = text
        self.bytes += sys.getsizeof(text) + _BYTES_AN_ENTRY
        while self.bytes > REGISTERED_BYTES:
            _, oldest = self._texts.popitem(last=False)
            self.bytes -= sys.getsizeof(oldest) + _BYTES_AN_ENTRY


def _by_id(entries: Iterable[ManifestEntry]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for entry in entries:
        digest = sha256_hex(entry.text)
        for identity in (entry.id, digest, SHA256 + digest):
            if texts.setdefault(identity, entry.text) != entry.text:
                raise ManifestError(f"{entry.where}: the id {identity} is that of another document already")
    return texts


def _hash_of(persisted: Any) -> str:
    if not isinstance(persisted, dict) or not isinstance(persisted.get("sha256Hash"), str):
        raise _malformed("`extensions.persistedQuery` must be an object with `version` and `sha256Hash`")
    if persisted.get("version") != _APQ_VERSION:
        raise _malformed("`extensions.persistedQuery`: Unsupported persisted query version")
    digest: str = persisted["sha256Hash"]
    return digest


def _malformed(message: str) -> BadRequest:
    return BadRequest(HTTPStatus.BAD_REQUEST, Code.BAD_REQUEST, message)


def _not_persisted(code: Code, message: str) -> BadRequest:
    return BadRequest(HTTPStatus.BAD_REQUEST, code, message, json_status=HTTPStatus.OK)


def _not_trusted(what: str) -> BadRequest:
    message = (
        f"{what} is not trusted, and this server takes no other (trusted_documents is require); "
        f"introspection takes a token with the scope {INTROSPECTION}"
    )
    return BadRequest(HTTPStatus.FORBIDDEN, Code.DOCUMENT_NOT_TRUSTED, message, json_status=HTTPStatus.OK)
