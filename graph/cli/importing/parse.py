"""A file of shards as rows: all of them, or all that is wrong with it, line by line.

Comma-separated values are those of RFC 4180, but a line is a row: no field of a shard can hold a line break, so a quote
that is never closed is a mistake in its own line and hides none of the lines after it. JSON Lines have an object a
line, its members named like the columns. The tables of other systems are read in graph/cli/formats.
"""

import csv
import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from graph.cli.formats.problems import Problems
from graph.cli.formats.registry import FOREIGN
from graph.cli.output import listed
from graph.client.records import Json
from persistence.model.fields import (
    FORMULA,
    capacity_problem,
    identifier_problem,
    locality_problem,
    name_problem,
    quoted,
)
from persistence.model.records import ShardKey, ShardStatus

FORMATS: Final = ("csv", "jsonl", *FOREIGN)

COLUMNS: Final = (
    *("namespace", "shardId", "ownerNodeId", "leaderId", "capacityHint", "localityHint", "status"),
    "antiAffinityGroup",
)

CLEARABLE: Final = ("leaderId", "localityHint", "antiAffinityGroup")
"""Columns that may be null."""

_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf(inity)?)", re.ASCII | re.IGNORECASE)

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Row:
    """`fields` holds what the file gives beyond the identity, by the names of the API. What it leaves out stays as it
    is, and has its default in a new shard."""

    line: int
    key: ShardKey
    fields: Json


@dataclass(frozen=True, slots=True)
class ShardFile:
    """`digest` is SHA-256 (hex) over its bytes."""

    rows: list[Row]
    digest: str


def read_file(data: Iterable[bytes], form: str, namespace: str | None, problems: Problems) -> ShardFile:
    """`data` gives the file line by line, in one of FORMATS. Rows are in its order, no two of one shard."""
    lines = NumberedLines(data, problems)
    values: Iterator[tuple[int, dict[str, object]]]
    if form in FOREIGN:
        values = FOREIGN[form].read(lines, problems)
    else:
        values = csv_values(lines, namespace, problems) if form == "csv" else json_values(lines, problems)
    rows: dict[ShardKey, Row] = {}
    for line, content in values:
        row = read_row(line, content, namespace, problems)
        if row is not None and row is not (first := rows.setdefault(row.key, row)):
            problems.add(line, "shardId", f"names {'/'.join(row.key)} again, after line {first.line:,}")
    if lines.empty:
        problems.add(1, None, "there is nothing in it")
    return ShardFile(list(rows.values()), lines.digest)


class NumberedLines:
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


def csv_values(
    lines: Iterable[tuple[int, str]], namespace: str | None, problems: Problems
) -> Iterator[tuple[int, dict[str, object]]]:
    """(line, column -> value) of every row that can be split. With `namespace` there may be no such column."""
    header: list[str] | None = None
    for number, line in lines:
        fields = _fields(number, line, problems)
        if fields is None:
            if header is None:
                return
        elif header is None:
            header = fields
            if not _is_header(number, header, namespace, problems):
                return
        elif len(fields) != len(header):
            problems.add(number, None, f"has {len(fields)} fields, the header has {len(header)}")
        else:
            yield number, dict(_values(header, fields))


def _fields(number: int, line: str, problems: Problems) -> list[str] | None:
    try:
        return [_as_it_was(field) for field in next(csv.reader([line], strict=True))]
    except csv.Error as error:
        what = "a quote is never closed" if str(error) == "unexpected end of data" else str(error)
        problems.add(number, None, f"is broken: {what}")
        return None


def _as_it_was(field: str) -> str:
    """Without the apostrophe that an export puts before what a spreadsheet would run; no field of a shard has one."""
    return field[1:] if field.startswith("'") and field[1:].startswith(FORMULA) else field


def _is_header(number: int, header: list[str], namespace: str | None, problems: Problems) -> bool:
    """Whether the columns are those of shards; otherwise adds which are not, and which are missing."""
    before = problems.count
    if not set(header) & set(COLUMNS):
        example = ",".join(COLUMNS)
        problems.add(number, None, f"is not a header, fields separated by commas, such as {example}")
        return False
    for column in header:
        if column not in COLUMNS:
            nearest = difflib.get_close_matches(column, COLUMNS, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else f": there are {', '.join(COLUMNS)}"
            problems.add(number, None, f"there is no column {quoted(column)}{hint}")
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        problems.add(number, None, f"names a column twice: {listed(twice)}")
    for column in ("namespace", "shardId", "ownerNodeId"):
        if column not in header and not (column == "namespace" and namespace):
            hint = ", unless --namespace says it" if column == "namespace" else ""
            problems.add(number, None, f"the column {column} is missing{hint}")
    return problems.count == before


def _values(header: list[str], fields: list[str]) -> Iterator[tuple[str, object]]:
    """Numbers as such. An empty field is null where that is a value, and left out where there is a default."""
    for column, text in zip(header, fields, strict=True):
        if column in CLEARABLE:
            yield column, text or None
        elif column == "capacityHint":
            if text:
                yield column, float(text) if _NUMBER.fullmatch(text) else text
        elif text or column != "status":
            yield column, text


def json_values(lines: Iterable[tuple[int, str]], problems: Problems) -> Iterator[tuple[int, dict[str, object]]]:
    """(line, column -> value) of every line that is an object with the members that shards have."""
    for number, line in lines:
        try:
            document = json.loads(line, object_pairs_hook=_members, parse_constant=_refuse)
        except json.JSONDecodeError as error:
            problems.add(number, None, f"is not JSON: {error.msg} at character {error.colno}")
        except (ValueError, RecursionError) as error:
            problems.add(number, None, str(error) if isinstance(error, ValueError) else "is nested too deeply")
        else:
            if _is_row(number, document, problems):
                yield number, document


def _is_row(number: int, document: object, problems: Problems) -> bool:
    if not isinstance(document, dict):
        problems.add(number, None, "must be an object, in braces")
        return False
    unknown = [name for name in document if name not in COLUMNS]
    for name in unknown:
        problems.add(number, None, f"there is no member {quoted(name)}: there are {', '.join(COLUMNS)}")
    return not unknown


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("names a member twice")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON: numbers must be finite")


def read_row(line: int, values: Mapping[str, object], namespace: str | None, problems: Problems) -> Row | None:
    """The row these values make, or none and what is wrong with them. `namespace` is that of the command line."""
    before = problems.count
    row = dict(values)
    row.setdefault("namespace", namespace)
    for column in ("namespace", "shardId", "ownerNodeId"):
        row.setdefault(column, None)
    for column, value in row.items():
        problem = _problem(column, value)
        if problem is not None:
            problems.add(line, column, problem)
    if namespace is not None and problems.count == before and row["namespace"] != namespace:
        problems.add(line, "namespace", f"is {row['namespace']}, but --namespace says {namespace}")
    if problems.count > before:
        return None
    key = ShardKey(str(row.pop("namespace")), str(row.pop("shardId")))
    return Row(line, key, {column: _as_stored(column, value) for column, value in row.items()})


def _problem(column: str, value: object) -> str | None:
    if value is None:
        return None if column in CLEARABLE else "is missing"
    if column == "capacityHint":
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"must be a number, not {quoted(str(value))}"
        return _number_problem(value)
    if column in _IDS and isinstance(value, int) and not isinstance(value, bool):
        return None if abs(value) < _LONG else "is a number that is too long"
    if not isinstance(value, str):
        return f"must be a string, not {quoted(str(value))}"
    return _TEXT_RULES.get(column, identifier_problem)(value)


def _number_problem(value: float) -> str | None:
    try:
        return capacity_problem(float(value))
    except OverflowError:
        return "must be a finite number"


def _status_problem(value: str) -> str | None:
    return None if value in set(ShardStatus) else f"{quoted(value)} is no status: {', '.join(ShardStatus)}"


_TEXT_RULES: Final[Mapping[str, Callable[[str], str | None]]] = {
    "namespace": name_problem,
    "localityHint": locality_problem,
    "status": _status_problem,
}


_IDS: Final = frozenset({"shardId", "ownerNodeId", "leaderId", "antiAffinityGroup"})
"""Columns that JSON may have as integers: slots, brokers and tokens are numbers where they come from."""

_LONG: Final = 10**127
"""From here on digits are more than an identifier has."""


def _as_stored(column: str, value: object) -> object:
    if isinstance(value, int):
        return str(value) if column in _IDS else float(value)
    return value
