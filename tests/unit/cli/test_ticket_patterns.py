"""Patterns of tickets: what the server is asked for is in every ticket that the pattern matches."""

from __future__ import annotations

import pytest

from graph.cli.changes.shared import literal_part, of_tickets


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        (None, None),
        ("CHG-4", None),
        ("*", None),
        ("CHG-4*", "CHG-4"),
        ("?HG-4[0-9]x", "HG-4"),
        ("[!A]HG", "HG"),
        ("[]a]b*", "b"),
        ("a[b", "a"),
        ("*" + 200 * "x", 128 * "x"),
    ],
)
def test_the_longest_part_that_is_no_pattern(pattern: str | None, part: str | None) -> None:
    assert literal_part(pattern) == part


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [("CHG-*", ["CHG-1", "CHG-20"]), ("CHG-?", ["CHG-1"]), ("chg*", []), ("[]C]HG-1", ["CHG-1"]), ("a[b", ["a[b"])],
)
def test_tickets_match_as_names_of_files_do(pattern: str, matching: list[str]) -> None:
    rows = [{"changeTicket": ticket} for ticket in ("CHG-1", "CHG-20", "a[b", None)]
    assert [row["changeTicket"] for row in of_tickets(pattern, rows)] == matching
