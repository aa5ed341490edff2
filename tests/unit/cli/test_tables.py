"""Tables show every text, and never pass its escape sequences to the terminal."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Final

import pytest

from graph.cli.output import (
    Column,
    format_time,
    listed,
    pluralized,
    print_documents,
    print_fields,
    print_table,
    printable,
)
from graph.cli.shards.shared import other_changes, owner_change
from graph.client.records import Json

LONG = "x" * 128


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_a_row_is_a_line_and_columns_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A", "LONGER"], [["1", "2"], ["three", None]])
    assert capsys.readouterr().out == "A      LONGER\n1      2\nthree  -\n"


def test_a_long_id_is_whole_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A", "B"], [[LONG, "b"]])
    assert f"{LONG}  b\n" in capsys.readouterr().out


@pytest.fixture(autouse=True)
def _sixty_columns_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")


def on_a_terminal(columns: list[str], rows: list[list[str | None]]) -> list[str]:
    """The lines of the table, without the colours."""
    with redirect_stdout(Terminal()) as terminal:
        print_table(columns, rows)
    return re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).splitlines()


def test_a_table_that_fits_a_terminal_is_drawn() -> None:
    header, rule, row = on_a_terminal(["SHARD", "REASON"], [["orders/s1", "hot"]])
    assert (header.split(), set(rule), row.split()) == (["SHARD", "REASON"], {"─"}, ["orders/s1", "hot"])


def test_on_a_terminal_only_the_last_column_is_folded() -> None:
    lines = on_a_terminal(["SHARD", "REASON"], [["orders/slot-00001", "why " * 20]])
    assert max(map(len, lines)) <= 60
    assert "\n".join(lines).count("why") == 20
    assert [line.split()[0] for line in lines[2:]] == ["orders/slot-00001", "why"]


def test_a_table_too_wide_for_a_terminal_is_whole_and_left_to_it() -> None:
    assert on_a_terminal(["SHARD", "REASON"], [[LONG, "hot"]])[1] == f"{LONG}  hot"


def test_what_others_wrote_is_no_markup() -> None:
    assert "[red]hot[/red]" in on_a_terminal(["SHARD", "REASON"], [["s1", "[red]hot[/red]"]])[2]


def test_columns_that_say_nothing_are_left_out_on_a_terminal_only(capsys: pytest.CaptureFixture[str]) -> None:
    columns: list[str] = ["SHARD", "LEADER", "REASON"]
    rows: list[list[str | None]] = [["s1", None, "hot"], ["s2", None, "cold"]]
    assert on_a_terminal(columns, rows)[0].split() == ["SHARD", "REASON"]
    print_table(columns, rows)
    assert capsys.readouterr().out.splitlines()[0].split() == columns


def test_control_characters_are_spelt_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields([("reason", "two\nlines \x1b[2J\u202e\x00")])
    assert capsys.readouterr().out == "reason  two\\nlines \\x1b[2J\\u202e\\x00\n"


def test_values_are_shown_as_they_are_written() -> None:
    assert [printable(value) for value in (None, 1.0, 0.1, 1e300, "é", 7)] == ["-", "1", "0.1", "1e+300", "é", "7"]


def test_times_are_shown_to_the_second_in_utc() -> None:
    assert format_time("2026-01-31T09:30:00.999999Z") == "2026-01-31T09:30:00Z"
    assert format_time(None) == "-"


def test_lists_are_short_and_say_how_long_they_are() -> None:
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c (and 2 more)"
    assert (pluralized(1, "shard"), pluralized(2_000, "shard")) == ("1 shard", "2,000 shards")


def test_a_move_shows_both_owners_and_other_changes_both_values() -> None:
    before = {"ownerNodeId": "n1", "status": "ACTIVE", "capacityHint": 1.0, "pinned": None}
    after = {"ownerNodeId": "n2", "status": "DRAINING", "capacityHint": 2.5, "pinned": {"by": "a"}}
    diff = {
        "kind": "UPDATED",
        "changedFields": ["ownerNodeId", "status", "capacityHint", "pinned"],
        "previous": before,
        "current": after,
    }
    assert owner_change(diff) == "n1 -> n2"
    assert other_changes(diff) == 'status ACTIVE -> DRAINING, capacityHint 1 -> 2.5, pinned - -> {"by": "a"}'


def test_creations_and_deletions_show_the_one_side_there_is() -> None:
    created: Json = {"kind": "CREATED", "changedFields": [], "previous": None, "current": {"ownerNodeId": "n1"}}
    deleted: Json = {"kind": "DELETED", "changedFields": [], "previous": {"ownerNodeId": "n1"}, "current": None}
    assert (owner_change(created), owner_change(deleted)) == ("- -> n1", "n1 -> -")
    assert (other_changes(created), other_changes(deleted)) == ("-", "-")


def test_a_column_is_a_member_or_what_a_function_makes_of_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    columns = (
        Column("ID", "id"),
        Column("BY", "pinned.by"),
        Column("WHEN", "pinned.at", format_time),
        Column("SIZE", lambda document: len(document["id"])),
    )
    pinned = {"by": "ops", "at": "2026-01-31T09:30:00.5Z"}
    print_documents(columns, [{"id": "s1", "pinned": pinned}, {"id": "s22", "pinned": None}])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [["s1", "ops", "2026-01-31T09:30:00Z", "2"], ["s22", "-", "-", "3"]]
    print_documents(columns, [])
    assert capsys.readouterr().out == ""


NOT: Final = {
    "DIFF %": "MOVED %",
    "MADE": "CREATED",
    "WHEN": "TIME",
    "WHO": "ACTOR",
    "BY": "ACTOR",
    "WHAT": "ABOUT",
    "OF": "ABOUT",
    "SUBJECT": "ABOUT",
    "OWNS": "SHARDS",
    "FIELDS": "CHANGES",
    "BECAUSE": "PROBLEM",
    "CODE": "PROBLEM",
    "IS": "ACTUAL",
    "TO DO": "REMEDY",
    "ID": "the noun",
}
"""Words of headers that had another for the same thing."""


def test_tables_have_one_word_for_one_thing() -> None:
    files = (Path(__file__).parents[3] / "graph" / "cli").rglob("*.py")
    headers = {
        header for file in files for header in re.findall(r'[(\[ ]"([A-Z][A-Z %]*)"[],)]', file.read_text("utf-8"))
    }
    assert {"SHARD", "OWNER", "TIME", "MOVED %", "REMEDY"} <= headers
    assert not headers & NOT.keys()
