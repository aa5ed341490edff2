"""docs/operations/a-night.md, typed again: every command of it, in its order, prints what the page has."""

from __future__ import annotations

from pathlib import Path

from tests.support.night import PAGE, blocks, comparable, evening, lived


def test_the_night_comes_out_as_the_page_has_it(database_url: str, tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    with evening(database_url, tmp_path) as type_in:
        for printed, now in zip(blocks(page), lived(page, type_in), strict=True):
            assert comparable(now) == comparable(printed)
    assert "graphql" not in "".join(blocks(page)).lower()
    assert (tmp_path / "night.csv").exists()
