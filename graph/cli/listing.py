"""Lists: in which form and order they are printed."""

from __future__ import annotations

import csv
import functools
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, cast

import click
from click.shell_completion import CompletionItem

from graph.cli.options import F, connection_options, failing_in_json, json_options, output_form
from graph.cli.output import (
    NOTHING,
    Column,
    pluralized,
    print_documents,
    print_json,
    print_status,
    printable,
    write_yaml,
)
from graph.client.records import Json
from persistence.model.fields import neutralized

_FORMS: Final = ("wide", "json", "yaml", "name", "csv")

_DIGITS: Final = re.compile(r"([0-9]+)")


@dataclass(frozen=True, slots=True)
class SortKey:
    """A column, as it is typed."""

    column: Column
    descending: bool

    def __str__(self) -> str:
        return ("-" if self.descending else "") + _typed(self.column)


class _SortKeyType(click.ParamType["SortKey", object]):
    name = "column"

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = {_typed(column): column for column in columns}

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> SortKey:
        if isinstance(value, SortKey):
            return value
        text = str(value)
        column = self._columns.get(_normal(text.removeprefix("-")))
        if column is None:
            self.fail(f"{printable(text)} is no column: it is one of {', '.join(self._columns)}.", param, ctx)
        return SortKey(column, text.startswith("-"))

    def shell_complete(self, _ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in self._columns if name.startswith(incomplete)]


def _typed(column: Column) -> str:
    return _normal(column.title)


def _normal(text: str) -> str:
    """`MOVE REASON` and `Move_reason` are `move-reason`, `DIFF %` is `diff`."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


@dataclass(frozen=True, slots=True)
class Listing:
    """How a list is to be printed. `name`: what stands for an item where only names are printed."""

    columns: Sequence[Column]
    name: Column
    form: str | None = None
    sort: SortKey | None = None

    @property
    def as_json(self) -> bool:
        """Or as YAML."""
        return self.form in ("json", "yaml")

    @property
    def is_for_programs(self) -> bool:
        """Nothing else belongs on stdout."""
        return self.form not in (None, "wide")

    def arranged(self, documents: Iterable[Json]) -> list[Json]:
        """In the requested order. What has nothing in that column comes last; what is equal stays in order."""
        if self.sort is None:
            return list(documents)
        cells = [(_value(self.sort.column, document), document) for document in documents]
        filled = [(_natural(printable(value)), document) for value, document in cells if value is not None]
        filled.sort(key=lambda pair: pair[0], reverse=self.sort.descending)
        return [document for _, document in filled] + [document for value, document in cells if value is None]

    def print(self, documents: Iterable[Json], thing: str) -> None:
        """As JSON Lines; or else, with their number on stderr."""
        if self.as_json:
            self.print_json(documents)
        else:
            arranged = self.arranged(documents)
            self.print_rows(arranged)
            print_status(f"{pluralized(len(arranged), thing)}.")

    def print_json(self, documents: Iterable[Json]) -> None:
        """As JSON Lines, or as a stream of YAML."""
        for document in self.arranged(documents):
            print_json(document)

    def print_rows(self, documents: Sequence[Json]) -> None:
        """In whatever form but JSON and YAML, in the order they are in."""
        match self.form:
            case "name":
                for document in documents:
                    click.echo(printable(self.name.cell(document)))
            case "csv":
                click.echo(_csv(self.columns, documents), nl=False)
            case _:
                print_documents(self.columns, documents, wide=self.form == "wide")


def _natural(text: str) -> tuple[object, ...]:
    """`node-9` before `node-10`, 5 % before 33 %: text and numbers by turns."""
    return tuple(int(part) if number % 2 else part.casefold() for number, part in enumerate(_DIGITS.split(text)))


def _csv(columns: Sequence[Column], documents: Sequence[Json]) -> str:
    """With a header, and every column."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([column.title for column in columns])
    lines.writerows([[_cell(_value(column, document)) for column in columns] for document in documents])
    return text.getvalue()


def _value(column: Column, document: Json) -> object:
    """Null where a function has nothing to show for the document; what is called `-` is called that."""
    value = column.cell(document)
    is_made = column.convert is not None or not isinstance(column.source, str)
    return None if is_made and value == NOTHING else value


def _cell(value: object) -> object:
    """Nothing for null. Text is one line, as in a table; with an apostrophe before it where a spreadsheet would run it
    else."""
    if not isinstance(value, str):
        return "" if value is None else value
    return neutralized(printable(value))


def list_options(columns: Sequence[Column], name: str | Callable[[Json], object]) -> Callable[[F], F]:
    """`server_options` for a command that lists, with --sort and more forms. `name`: the source of an item's name."""
    of_name = Column("NAME", name)

    def decorate(command: F) -> F:
        @functools.wraps(command)
        def with_listing(*, as_json: bool, output: str | None, sort: SortKey | None, **options: object) -> object:
            form = output_form(output, as_json=as_json)
            if form == "yaml":
                write_yaml()
            listing = Listing(columns, of_name, form, sort)
            with failing_in_json(as_json=listing.as_json):
                return command(listing=listing, **options)

        listing = connection_options(cast("F", with_listing))
        listing = click.option(
            "--sort",
            type=_SortKeyType(columns),
            help="Order the rows by this column; with a - before it, the greatest first.",
        )(listing)
        help_text = "Write a table with every column, JSON, YAML, names, or comma-separated values."
        return json_options(listing, _FORMS, help_text)

    return decorate
