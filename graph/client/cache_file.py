"""The last good table in a file, so that a node which starts while every server is away has one."""

import logging
from pathlib import Path
from typing import Any, Final

import orjson

from graph.client.document import Json
from graph.client.live_table import LiveTable
from graph.client.proof import Proof, TableWrong
from graph.client.records import Claim, Fingerprint, read_shard, shard_document
from graph.client.selection import Selection
from graph.client.whole_file import replace_file

_log = logging.getLogger("graph.client")

_FORMAT: Final = "omnirelay.mesh.v1"


class CacheFile:
    """Belongs to one client: what it keeps depends on which namespaces that has."""

    def __init__(self, path: Path, selection: Selection) -> None:
        self._path = path
        self._selection = selection
        self._written: str | None = None

    def read(self) -> LiveTable | None:
        """The table as it was written, proven by its fingerprints; null, and a line in the log, if it is of no use."""
        try:
            document = orjson.loads(self._path.read_bytes())
            if document["format"] != _FORMAT or document["selection"] != self._names():
                _log.warning("%s holds another kind of table, or other namespaces: it is not used", self._path)
                return None
            return _proven(document, self._selection)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, TableWrong) as error:
            _log.warning("%s holds no table that could be used: %r", self._path, error)
            return None

    def write(self, table: LiveTable) -> None:
        """Replaces the file as a whole, if the table has moved since. A disk that is full is logged, and no more."""
        if table.cursor == self._written:
            return
        try:
            replace_file(self._path, orjson.dumps(self._document(table)))
            self._written = table.cursor
        except OSError as error:
            _log.warning("the table cannot be kept in %s: %s", self._path, error.strerror)

    def _document(self, table: LiveTable) -> Json:
        namespaces = table.shards.namespaces
        return {
            "format": _FORMAT,
            "selection": self._names(),
            "cursor": table.cursor,
            "position": str(table.position),
            "fingerprints": {name: [f"{(of := table.fingerprint(name)).digest:x}", of.shards] for name in namespaces},
            "shards": [shard_document(shard) for shards in namespaces.values() for shard in shards.values()],
        }

    def _names(self) -> list[str] | None:
        names = self._selection.namespaces
        return None if names is None else sorted(names)


def _proven(document: Any, selection: Selection) -> LiveTable:
    """Raises TableWrong, and what wrong types raise."""
    position = int(document["position"])
    table = LiveTable(document["cursor"], position, selection)
    shards = [read_shard(shard) for shard in document["shards"]]
    if any(shard.revision > position for shard in shards):
        raise TableWrong(f"a shard is newer than position {position}")
    table.put(shards, position)
    proof = Proof(table)
    proof.hear(
        Claim(name, position, Fingerprint(int(digest, 16), shards))
        for name, (digest, shards) in document["fingerprints"].items()
    )
    if not proof.step(len(shards) + len(table.shards.namespaces)):
        raise TableWrong("shards and fingerprints do not go together")
    return table
