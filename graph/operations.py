"""The GraphQL operations this program sends, by name: the files of `frontend-queries/documents`, word for word; and the
manifests that name documents by their ids, its own and those of other programs.

A wheel carries the documents in the package; a checkout has them beside it.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

# Not `operations`: a folder of that name would stand where this module does.
PACKAGED: Final = "operation_documents"

MANIFEST_FORMAT: Final = "apollo-persisted-query-manifest"

MANIFEST_VERSION: Final = 1

SHA256: Final = "sha256:"

Trust: TypeAlias = Literal["off", "prefer", "require"]
"""`off`: documents are taken as text. `prefer`: by the id of a trusted one too. `require`: trusted ones only, either
way."""

_SUFFIX: Final = ".graphql"

_MANIFEST: Final = "manifest.json"

_ID: Final = re.compile(r"(?:sha256:|x-[A-Za-z0-9._~-]+:)?[A-Za-z0-9._~-]+")
"""https://github.com/graphql/graphql-over-http, appendix Persisted Documents: other prefixes are reserved."""


class ManifestError(Exception):
    """A manifest that cannot be used, or a document of it. The message names file and entry."""


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """A document and its id. `where` names file and entry in messages."""

    id: str
    text: str
    where: str


def sha256_hex(text: str) -> str:
    """The digest of a document in UTF-8, as its clients have it. No text but itself has that of a lone surrogate."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def operation(name: str) -> str:
    """The document whose only operation is `name`. Raises LookupError if there is none."""
    try:
        return folder().joinpath(name + _SUFFIX).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LookupError(f"there is no operation {name} in {folder()}") from None


def operation_names() -> frozenset[str]:
    """The names of all operations there are."""
    return frozenset(entry.name.removesuffix(_SUFFIX) for entry in folder().iterdir() if entry.name.endswith(_SUFFIX))


def own_manifest() -> Sequence[ManifestEntry]:
    """The documents of this program. Raises ManifestError for one that is not what was built."""
    where = folder().joinpath(_MANIFEST)
    entries = [
        ManifestEntry(identity, operation(name), f"{where}: {name}")
        for name, identity in json.loads(where.read_text(encoding="utf-8")).items()
    ]
    for entry in entries:
        _check_digest(entry)
    return entries


def read_manifest(path: Path) -> Sequence[ManifestEntry]:
    """The documents of other programs: of a persisted query manifest as @apollo/generate-persisted-query-manifest and
    the code generators of Apollo's clients write it, or of every `*.json` of a folder. Raises ManifestError."""
    try:
        found = sorted(path.glob("*.json")) if path.is_dir() else [path]
        return [entry for file in found for entry in _entries(file, file.read_bytes())]
    except OSError as error:
        raise ManifestError(f"{error.filename or path}: {error.strerror}") from error


def _entries(file: Path, content: bytes) -> Sequence[ManifestEntry]:
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:  # also for what is not UTF-8
        raise ManifestError(f"{file}: not JSON: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != MANIFEST_FORMAT:
        raise ManifestError(f'{file}: must be an object whose "format" is "{MANIFEST_FORMAT}"')
    if manifest.get("version") != MANIFEST_VERSION:
        raise ManifestError(f'{file}: "version" must be {MANIFEST_VERSION}')
    operations = manifest.get("operations")
    if not isinstance(operations, list):
        raise ManifestError(f'{file}: "operations" must be a list')
    return [_entry(f"{file}: operations[{number}]", each) for number, each in enumerate(operations)]


def _entry(where: str, given: Any) -> ManifestEntry:
    if not isinstance(given, dict):
        raise ManifestError(f"{where} must be an object")
    if isinstance(given.get("name"), str):
        where = f"{where} ({given['name']})"
    identity, text = given.get("id"), given.get("body")
    if not isinstance(identity, str) or not _ID.fullmatch(identity):
        raise ManifestError(f'{where}: "id" must be "sha256:" or nothing, then letters, digits, "-", ".", "_" or "~"')
    if not isinstance(text, str) or not text:
        raise ManifestError(f'{where}: "body" must be a GraphQL document')
    entry = ManifestEntry(identity, text, where)
    _check_digest(entry)
    return entry


def _check_digest(entry: ManifestEntry) -> None:
    """An id without `sha256:` may be made in any way, and often is a digest of the document as it was printed once."""
    if entry.id.startswith(SHA256) and entry.id != SHA256 + sha256_hex(entry.text):
        raise ManifestError(f"{entry.where}: the id is not the SHA-256 of the document, {sha256_hex(entry.text)}")


def folder() -> Traversable:
    """Where the operations lie."""
    package = files("graph")
    packaged = package / PACKAGED
    if packaged.is_dir():
        return packaged
    return Path(str(package)).parent / "frontend-queries" / "documents"
