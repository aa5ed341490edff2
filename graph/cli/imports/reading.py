"""Reading a file of shards as a whole: all of its rows, or all that is wrong with it."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from graph.cli.imports.csv_lines import csv_values
from graph.cli.imports.json_lines import json_values
from graph.cli.imports.problems import Problems
from graph.cli.imports.rows import Row, read_row
from persistence.records import ShardKey

Format: TypeAlias = Literal["csv", "jsonl"]
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class ShardFile:
    """`digest` is SHA-256 (hex) over its bytes."""

    rows: list[Row]
    digest: str


def read_file(data: Iterable[bytes], form: Format, namespace: str | None, problems: Problems) -> ShardFile:
    """`data` gives the file line by line. Rows are in its order, no two of one shard."""
    lines = _Lines(data, problems)
    values = csv_values(lines, namespace, problems) if form == "csv" else json_values(lines, problems)
    rows: dict[ShardKey, Row] = {}
    for line, given in values:
        row = read_row(line, given, namespace, problems)
        if row is not None and row is not (first := rows.setdefault(row.key, row)):
            problems.add(line, "shardId", f"names {'/'.join(row.key)} again, after line {first.line:,}")
    if lines.empty:
        problems.add(1, None, "there is nothing in it")
    return ShardFile(list(rows.values()), lines.digest)


class _Lines:
    """The lines that are not blank, decoded, with their numbers. What is not UTF-8 is reported and left out."""

    def __init__(self, data: Iterable[bytes], problems: Problems) -> None:
        self._data = data
        self._problems = problems
        self._hash = hashlib.sha256()
        self.empty = True

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(self._data, start=1):
            self._hash.update(line)
            text = self._decoded(number, line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line)
            if text.strip():
                yield number, text

    def _decoded(self, number: int, line: bytes) -> str:
        """Without the end of the line. Nothing if it cannot be read."""
        self.empty = self.empty and not line.strip()
        try:
            return line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            self._problems.add(number, None, f"is not UTF-8: byte {error.start + 1} is {line[error.start]:#04x}")
            return ""
