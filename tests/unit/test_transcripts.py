"""What README.md prints is held to a recording, and that to the program."""

from __future__ import annotations

import pytest

from tests.support.transcripts import README, RECORDED, Shown, problems

TEXT = RECORDED.read_text(encoding="utf-8")


def test_the_readme_prints_what_was_recorded() -> None:
    assert list(problems(TEXT, README.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("NAMESPACE  STRATEGY", "NAMESPACE  METHOD", "no table has the column 'METHOD'"),
        ("--reason undo", "--because undo", "No such option"),
        ("mesh shards explain", "mesh shards clarify", "No such command"),
        ("orders", "others", "other commands were recorded"),
    ],
)
def test_what_is_not_as_it_was_is_named(before: str, after: str, words: str) -> None:
    recorded = TEXT.replace(before, after)
    assert words in "\n".join(problems(recorded, f"```console\n{recorded}```\n"))
    assert next(problems(recorded, README.read_text(encoding="utf-8"))).startswith("README.md does not print")


def test_of_a_long_output_beginning_and_end_are_shown() -> None:
    assert Shown("c", 1, "z").of("a\nb\nz 1\nz 2\n") == "$ omnirelay c\na\n...\nz 1\nz 2"
    assert Shown("c", 1).of("a\nb\n") == "$ omnirelay c\na\n..."
