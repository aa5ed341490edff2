"""Comma-separated values, as RFC 4180 has them, line by line.

No field of a shard can hold a line break, so a line is a row: a quote that is never closed is a mistake in its own
line and hides none of the lines after it.
"""

import csv
import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Final

from graph.cli.imports.problems import Problems
from graph.cli.imports.rows import CLEARABLE, COLUMNS
from graph.cli.text import listed
from persistence.fields import shown

_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf(inity)?)", re.ASCII | re.IGNORECASE)


def csv_values(
    lines: Iterable[tuple[int, str]], namespace: str | None, problems: Problems
) -> Iterator[tuple[int, dict[str, object]]]:
    """(line, column -> value) of every row that can be taken apart. `namespace` makes that column dispensable."""
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
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        what = "a quote is never closed" if str(error) == "unexpected end of data" else str(error)
        problems.add(number, None, f"is broken: {what}")
        return None


def _is_header(number: int, header: list[str], namespace: str | None, problems: Problems) -> bool:
    """Whether the columns are those of shards; otherwise says which are not, and which are missing."""
    before = problems.count
    if not set(header) & set(COLUMNS):
        example = ",".join(COLUMNS)
        problems.add(number, None, f"is not a header, fields separated by commas, such as {example}")
        return False
    for column in header:
        if column not in COLUMNS:
            nearest = difflib.get_close_matches(column, COLUMNS, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else f": there are {', '.join(COLUMNS)}"
            problems.add(number, None, f"there is no column {shown(column)}{hint}")
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        problems.add(number, None, f"names a column twice: {listed(twice)}")
    for column in ("namespace", "shardId", "ownerNodeId"):
        if column not in header and not (column == "namespace" and namespace):
            hint = ", unless --namespace says it" if column == "namespace" else ""
            problems.add(number, None, f"the column {column} is missing{hint}")
    return problems.count == before


def _values(header: list[str], fields: list[str]) -> Iterator[tuple[str, object]]:
    """Numbers as such. An empty field is null where there can be none, and says nothing where there is a default."""
    for column, text in zip(header, fields, strict=True):
        if column in CLEARABLE:
            yield column, text or None
        elif column == "capacityHint":
            if text:
                yield column, float(text) if _NUMBER.fullmatch(text) else text
        elif text or column != "status":
            yield column, text
