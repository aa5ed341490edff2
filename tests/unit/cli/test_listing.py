"""Lists as comma-separated values, and in an order."""

from __future__ import annotations

import csv
import io
from contextlib import redirect_stdout
from typing import Final

import pytest

from graph.cli.listing import Listing, SortKey
from graph.cli.output import Column, format_time
from graph.client.records import Json

NODE: Final = Column("NODE", "id")
SHARDS: Final = Column("SHARDS", "shards")
TIME: Final = Column("TIME", "time", format_time)


def item(name: str, shards: object = None) -> Json:
    return {"id": name, "shards": shards, "time": None}


def written(*items: Json) -> list[list[str]]:
    out = io.StringIO()
    with redirect_stdout(out):
        Listing((NODE, SHARDS, TIME), NODE, "csv").print_rows(items)
    return list(csv.reader(io.StringIO(out.getvalue())))


def test_what_there_is_not_is_an_empty_cell_and_a_dash_is_a_dash() -> None:
    assert written(item("-", 0), item("n"))[1:] == [["'-", "0", ""], ["n", "", ""]]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@"])
def test_what_a_spreadsheet_would_run_is_text(begin: str) -> None:
    assert written(item(f"{begin}1+1"))[1][0] == f"'{begin}1+1"


def test_a_negative_number_is_a_number() -> None:
    assert written(item("n", -1.5))[1][1] == "-1.5"


def test_text_is_one_line_with_its_control_characters_spelt_out() -> None:
    assert written(item('\ta\r\n"b",c'))[1][0] == '\\ta\\r\\n"b",c'


def test_without_items_there_is_a_header() -> None:
    assert written() == [["NODE", "SHARDS", "TIME"]]


@pytest.mark.parametrize(
    ("key", "names"),
    [
        (SortKey(NODE, descending=False), ["n2", "n9", "N10", "n100"]),
        (SortKey(NODE, descending=True), ["n100", "N10", "n9", "n2"]),
        (SortKey(SHARDS, descending=False), ["n9", "n100", "N10", "n2"]),
        (SortKey(SHARDS, descending=True), ["N10", "n9", "n100", "n2"]),
        (None, ["N10", "n9", "n2", "n100"]),
    ],
)
def test_numbers_are_ordered_as_numbers_and_nothing_comes_last(key: SortKey | None, names: list[str]) -> None:
    items = [item("N10", "11"), item("n9", 7), item("n2"), item("n100", "7")]
    arranged = Listing((NODE, SHARDS), NODE, sort=key).arranged(items)
    assert [each["id"] for each in arranged] == names
