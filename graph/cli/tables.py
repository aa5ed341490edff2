"""Tables: drawn where they fit a terminal; aligned, complete and one line a row everywhere else.

Nothing is ever cut off, and no id is ever broken: only the last column may go on in the next line of its cell. A table
that is too wide even so is written as to a file, and the terminal wraps it.
"""

import shutil
import sys
from collections.abc import Sequence
from typing import Final

import click

from graph.cli.output import NOTHING, printable

_GAP: Final = 2

_NARROWEST: Final = 24
"""Columns of a terminal that the last column needs to be readable."""


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """`rows` hold what each column's value is; how it is shown is decided here."""
    cells = [[printable(value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        click.echo("\n".join(_aligned([list(columns), *cells])))
        return
    columns, cells = _without_empty(columns, cells)
    *fixed, last = _widths([columns, *cells])
    before_last = sum(fixed) + _GAP * len(fixed)
    terminal = shutil.get_terminal_size().columns
    if before_last + min(last, _NARROWEST) <= terminal:
        _draw(columns, cells)
    else:
        click.echo("\n".join(_aligned([columns, *cells])))


def print_facts(facts: Sequence[tuple[str, object]]) -> None:
    """One thing, a line for each fact."""
    click.echo("\n".join(fact_lines(facts)))


def fact_lines(facts: Sequence[tuple[str, object]]) -> list[str]:
    return _aligned([[name, printable(value)] for name, value in facts])


def _without_empty(columns: Sequence[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Columns that say nothing in any row make room on a terminal. Files have them all, whatever is in them."""
    kept = [index for index in range(len(columns)) if any(row[index] != NOTHING for row in rows)]
    return [columns[index] for index in kept], [[row[index] for index in kept] for row in rows]


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
