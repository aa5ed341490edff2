"""The last good table in a file, for a node that starts while no server can be reached; and atomic file writes.

Lines of JSON: what the table is, then its shards, a slice a line. Writing and reading go slice by slice, because the
interpreter does nothing else while it encodes or parses one: in one piece 200,000 shards stopped the threads that the
table is there for, by 0.1 s and by 0.4 s.
"""

import logging
import os
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from graph.client.records import Claim, Fingerprint, Json, read_shard, shard_document
from graph.client.table import LiveTable, Selection
from graph.client.verification import TableVerification, TableWrong
from persistence.model.records import Shard

_log = logging.getLogger("graph.client")

_FORMAT: Final = "omnirelay.mesh.v2"

SLICE: Final = 200
"""Shards a line: a millisecond or two, then other threads have the interpreter."""


class CacheFile:
    """Belongs to one client: its content depends on which namespaces that has."""

    def __init__(self, path: Path, selection: Selection) -> None:
        self._path = path
        self._selection = selection
        self._written: str | None = None

    def read(self) -> LiveTable | None:
        """The table as it was written, verified by its fingerprints; null, and a log line, if it is of no use."""
        try:
            with self._path.open("rb") as file:
                header = orjson.loads(file.readline())
                if header["format"] != _FORMAT or header["selection"] != self._names():
                    _log.warning("%s holds another kind of table, or other namespaces: it is not used", self._path)
                    return None
                return _verified(header, file, self._selection)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, TableWrong) as error:
            _log.warning("%s holds no table that could be used: %r", self._path, error)
            return None

    def write(self, table: LiveTable) -> None:
        """All of `writing`, giving way to other threads after each step."""
        for _ in self.writing(table):
            time.sleep(0)

    def writing(self, table: LiveTable) -> Generator[None, None, None]:
        """Replaces the file by the table as it is now, a slice each step, if it has moved since it was written last.

        The table may go on meanwhile. Abandoned, the file stays as it was. A disk that is full is logged, and no more.
        """
        if table.cursor == self._written:
            return
        # Shards are replaced whole, so a list of them is the table as it is now.
        shards = [list(shards.values()) for shards in table.shards.namespaces.values()]
        header = self._header(table, sum(map(len, shards)))
        try:
            with replacing(self._path) as file:
                for line in chain([header], _lines(chain.from_iterable(shards))):
                    file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
                    yield
            self._written = header["cursor"]
        except OSError as error:
            _log.warning("the table cannot be kept in %s: %s", self._path, error.strerror)

    def _header(self, table: LiveTable, shards: int) -> Json:
        namespaces = table.shards.namespaces
        return {
            "format": _FORMAT,
            "selection": self._names(),
            "cursor": table.cursor,
            "position": str(table.position),
            "fingerprints": {name: [f"{(of := table.fingerprint(name)).digest:x}", of.shards] for name in namespaces},
            "shards": shards,
        }

    def _names(self) -> list[str] | None:
        names = self._selection.namespaces
        return None if names is None else sorted(names)


def _lines(shards: Iterable[Shard]) -> Iterator[list[Json]]:
    rest = iter(shards)
    while part := [shard_document(shard) for shard in islice(rest, SLICE)]:
        yield part


def _verified(header: Any, lines: Iterable[bytes], selection: Selection) -> LiveTable:
    """Raises TableWrong, and what wrong types raise."""
    position = int(header["position"])
    table = LiveTable(header["cursor"], position, selection)
    for line in lines:
        shards = [read_shard(shard) for shard in orjson.loads(line)]
        if any(shard.revision > position for shard in shards):
            raise TableWrong(f"a shard is newer than position {position}")
        table.put(shards, position)
        time.sleep(0)
    if len(table.shards) != header["shards"]:
        raise TableWrong(f"it holds {len(table.shards):,} shards of {header['shards']:,}")
    verification = TableVerification(table)
    verification.add_claims(
        Claim(name, position, Fingerprint(int(digest, 16), shards))
        for name, (digest, shards) in header["fingerprints"].items()
    )
    while verification.auditing:
        verification.step(SLICE)
        time.sleep(0)
    if not verification.step(0):
        raise TableWrong("shards and fingerprints do not go together")
    return table


@contextmanager
def replacing(path: Path, unfinished_name: str = f".{{}}.{os.getpid()}") -> Iterator[BinaryIO]:
    """What is written here replaces the file when the context ends well; else the file stays as it was.

    Whenever this process or the machine stops, the file is the old or the new one. It is written under the unfinished
    name, with its own in the place of `{}`; by default a hidden one of this process. A link stays one, and what is no
    file, such as /dev/null or a pipe, is written to as it is. Raises OSError.
    """
    path = Path(os.path.realpath(path))  # resolve() raises RuntimeError for links that lead to themselves
    if path.exists() and not path.is_file():
        with path.open("wb") as device:
            yield device
        return
    unfinished = path.with_name(unfinished_name.format(path.name))
    try:
        with unfinished.open("wb", buffering=1 << 20) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes) -> None:
    """As `replacing`, with content that is at hand. Raises OSError."""
    with replacing(path) as file:
        file.write(content)
