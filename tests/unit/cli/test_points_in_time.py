"""Points in time, as they are typed and as the API takes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import pytest

from graph.cli.errors import Exit, Failure
from graph.cli.points_in_time import Revision, RevisionsAgo, Time, as_of, read_point_in_time, read_time

NOW: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)


def no_head() -> int:
    raise AssertionError("nobody needs to know the newest revision")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", {"revision": "0"}),
        ("1234", {"revision": "1234"}),
        ("2026-01-31T09:30:00Z", {"time": "2026-01-31T09:30:00Z"}),
        ("2026-01-31T09:30:00.5+01:00", {"time": "2026-01-31T08:30:00.500000Z"}),
        ("90s", {"time": "2026-01-31T11:58:30Z"}),
        ("15m", {"time": "2026-01-31T11:45:00Z"}),
        ("2h", {"time": "2026-01-31T10:00:00Z"}),
        ("3d", {"time": "2026-01-28T12:00:00Z"}),
    ],
)
def test_a_point_in_time_becomes_what_the_api_takes(text: str, expected: dict[str, str]) -> None:
    assert as_of(read_point_in_time(text, NOW), no_head) == expected


def test_so_many_revisions_ago_are_counted_from_the_newest() -> None:
    assert as_of(read_point_in_time("-3", NOW), lambda: 10) == {"revision": "7"}
    assert as_of(RevisionsAgo(10), lambda: 10) == {"revision": "0"}


def test_more_revisions_ago_than_there_are_is_a_mistake() -> None:
    with pytest.raises(Failure, match="-11 is before the beginning: there are 10 revisions") as refused:
        as_of(RevisionsAgo(11), lambda: 10)
    assert refused.value.exit is Exit.INVALID


@pytest.mark.parametrize("text", ["2026-01-31T09:30:00", "2026-01-31"])
def test_a_time_without_a_zone_says_how_to_give_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"has no time zone: write 2026-01-31T\d\d:\d\d:00Z for UTC"):
        read_time(text, NOW)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "1.5h", "5w", "999999d", "2026-13-01T00:00:00Z", "--namspace", "\x1b[2J"]
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time: write for example .* or -N for N revisions ago$"):
        read_point_in_time(text, NOW)


def test_a_number_beyond_every_revision_is_refused() -> None:
    assert read_point_in_time(str(2**63 - 1), NOW) == Revision(2**63 - 1)
    with pytest.raises(ValueError, match="is no revision"):
        read_point_in_time(str(2**63), NOW)


def test_a_time_is_written_in_utc() -> None:
    assert str(Time(datetime.fromisoformat("2026-01-31T01:00:00+02:00"))) == "2026-01-30T23:00:00Z"
