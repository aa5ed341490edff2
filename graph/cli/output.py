"""What commands print: data on stdout, as JSON, as tables or line by line; messages for people on stderr.

Text of the store may hold line breaks and escape sequences, which a terminal would obey: `printable` spells them out.
A table is drawn where it fits a terminal; elsewhere it is aligned, complete and one line a row. Nothing is ever cut
off, and no id is ever broken: only the last column may go on in the next line of its cell. A table that is too wide
even so is written as to a file, and the terminal wraps it.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

import click

from graph.cli.yaml import to_yaml
from graph.client.records import Json

NOTHING: Final = "-"

_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")

_GAP: Final = 2

_NARROWEST: Final = 24
"""Columns of a terminal that the last column needs to be readable."""

Field: TypeAlias = tuple[str, object]
"""Of one record: its name and its value."""


_YAML: Final = "graph.cli.output.yaml"
"""In the context of a command: it writes YAML where it would write JSON."""


def write_yaml() -> None:
    """From now on, until the command under way ends."""
    click.get_current_context().meta[_YAML] = True


def print_json(document: object) -> None:
    """A line of JSON Lines, or the one document there is. Flushed: a reader may be waiting for it.

    As YAML, if that was asked for: a document each."""
    if _writes_yaml():
        click.echo(f"---\n{to_yaml(document)}")
    else:
        print_json_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")))


def _writes_yaml() -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and _YAML in context.meta


def print_json_text(text: str) -> None:
    """A document that is JSON already, and is written as it is unless YAML was asked for. Where the output is in an
    encoding that lacks some of its characters, those are escaped as JSON has it: the document is the same in any."""
    if _writes_yaml():
        print_json(json.loads(text))
        return
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = _NOT_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)
    click.echo(text)


def print_status(message: str) -> None:
    """A message on stderr."""
    click.echo(message, err=True)


def printable(value: object) -> str:
    """One line without control characters, `-` for null. Floats have 15 digits."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:.15g}"
    text = str(value)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def format_time(value: str | None) -> str:
    """A time of the API, to the second: 2026-01-31T09:30:00Z."""
    if value is None:
        return NOTHING
    return datetime.fromisoformat(value).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def format_percent(value: float) -> str:
    """Three digits: 0.195 %, 33.3 %."""
    return f"{value:.3g} %"


def arrow(before: object, after: object) -> str:
    """`3 -> 5`, or the one value it had before and after."""
    return printable(after) if before == after else f"{printable(before)} -> {printable(after)}"


def listed(values: list[str], limit: int = 3) -> str:
    """The first few, and how many more there are."""
    rest = len(values) - limit
    return ", ".join(values[:limit]) + (f" (and {rest:,} more)" if rest > 0 else "")


def pluralized(number: int, thing: str) -> str:
    """1 shard, 2 shards."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def made_by(change: Json | None) -> str:
    """`alice at 2026-01-31T09:30:00Z (CHG-42: hot shard)`; `-` for no change."""
    if change is None:
        return NOTHING
    ticket = f"{printable(change['changeTicket'])}: " if change["changeTicket"] else ""
    return (
        f"{printable(change['actor'])} at {format_time(change['committedAt'])} ({ticket}{printable(change['reason'])})"
    )


def moved_percent(change: Json) -> str | None:
    """What part of its namespaces' shards a rebalance moved; null for other changes."""
    rebalance = change["rebalance"]
    return None if rebalance is None else format_percent(rebalance["diffPercent"])


@dataclass(frozen=True, slots=True)
class Column:
    """Of a table of documents. `source`: the path of a member, its names joined by dots, or a function of the document.
    Null anywhere on the path is null. `convert` takes what is found there. `wide`: only in wide tables."""

    title: str
    source: str | Callable[[Json], object]
    convert: Callable[[Any], object] | None = None
    wide: bool = False

    def cell(self, document: Json) -> object:
        if not isinstance(self.source, str):
            return self.source(document)
        value: Any = document
        for name in self.source.split("."):
            value = None if value is None else value[name]
        return value if self.convert is None else self.convert(value)


def print_list(columns: Sequence[Column], documents: Sequence[Json], thing: str, *, as_json: bool) -> None:
    """As JSON Lines; or as a table, with their number on stderr."""
    if as_json:
        for document in documents:
            print_json(document)
    else:
        print_documents(columns, documents)
        print_status(f"{pluralized(len(documents), thing)}.")


def print_documents(columns: Sequence[Column], documents: Sequence[Json], *, wide: bool = False) -> None:
    """A row each; nothing for none. `wide`: with every column."""
    if documents:
        shown = [column for column in columns if wide or not column.wide]
        rows = [[column.cell(document) for column in shown] for document in documents]
        print_table([column.title for column in shown], rows, wide=wide)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, wide: bool = False) -> None:
    """`rows` hold the value of each column. `wide`: empty columns are shown on terminals, too."""
    cells = [[printable(value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        click.echo("\n".join(_aligned([list(columns), *cells])))
        return
    if not wide:
        columns, cells = _without_empty(columns, cells)
    *fixed, last = _widths([columns, *cells])
    before_last = sum(fixed) + _GAP * len(fixed)
    terminal = shutil.get_terminal_size().columns
    if before_last + min(last, _NARROWEST) <= terminal:
        _draw(columns, cells)
    else:
        click.echo("\n".join(_aligned([columns, *cells])))


def print_fields(fields: Sequence[Field]) -> None:
    """One record, a line for each field."""
    click.echo("\n".join(field_lines(fields)))


def field_lines(fields: Sequence[Field]) -> list[str]:
    return _aligned([[name, printable(value)] for name, value in fields])


def _without_empty(columns: Sequence[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Without the columns that are empty in every row, to make room on a terminal. Files have them all."""
    filled = [index for index in range(len(columns)) if any(row[index] != NOTHING for row in rows)]
    return [columns[index] for index in filled], [[row[index] for index in filled] for row in rows]


def _draw(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    # Imported here: programs that read our output should not wait for a library that draws.
    from rich import box  # noqa: PLC0415 - see above
    from rich.console import Console  # noqa: PLC0415 - see above
    from rich.table import Table  # noqa: PLC0415 - see above
    from rich.text import Text  # noqa: PLC0415 - see above

    # The box itself has a blank between columns.
    table = Table(box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False, show_edge=False)
    for index, column in enumerate(columns):
        table.add_column(Text(column), no_wrap=index < len(columns) - 1, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = _widths(rows)
    return [(" " * _GAP).join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]
