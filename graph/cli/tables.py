"""Tables: drawn to fit a terminal; aligned, complete and one line a row for everything else.

Nothing is ever cut off: a value that does not fit a terminal's column goes on in the next line of its cell.
"""

import sys
from collections.abc import Sequence

import click

from graph.cli.text import shown


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """`rows` hold what each column's value is; how it is shown is decided here."""
    cells = [[shown(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        _draw(columns, cells)
    else:
        click.echo("\n".join(_aligned([list(columns), *cells])))


def print_facts(facts: Sequence[tuple[str, object]]) -> None:
    """One thing, a line for each fact."""
    click.echo("\n".join(fact_lines(facts)))


def fact_lines(facts: Sequence[tuple[str, object]]) -> list[str]:
    return _aligned([[name, shown(value)] for name, value in facts])


def _draw(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    # Imported here: programs that read our output should not wait for a library that draws.
    from rich import box  # noqa: PLC0415 - see above
    from rich.console import Console  # noqa: PLC0415 - see above
    from rich.table import Table  # noqa: PLC0415 - see above
    from rich.text import Text  # noqa: PLC0415 - see above

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(Text(column), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
