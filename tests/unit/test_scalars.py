"""Scalars: what is written, what is read, what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from graphql import GraphQLError

from graph.execution.encoding import write_date_time
from graph.schema.scalars import read_cursor, read_date_time, read_revision, write_revision


@pytest.mark.parametrize("value", [0, 1, 2**53 + 1, 2**63 - 1])
def test_a_revision_is_a_string_of_digits_and_reads_back_exactly(value: int) -> None:
    assert write_revision(value) == str(value)
    assert read_revision(str(value)) == read_revision(value) == value


@pytest.mark.parametrize(
    "value", [-1, 2**63, 1.0, float("nan"), True, False, None, [], {}, "", "-0", "+1", "01", "1_0", "\u0661", "1e3"]
)
def test_what_is_no_revision_is_refused_with_the_bounds(value: Any) -> None:
    with pytest.raises(GraphQLError, match="whole number from 0 to 9223372036854775807"):
        read_revision(value)


def test_a_refusal_never_quotes_what_cannot_be_written() -> None:
    for read in (read_revision, read_date_time):
        with pytest.raises(GraphQLError) as caught:
            read("\ud800" + "x" * 1_000_000)
        assert len(caught.value.message.encode()) < 300


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31T09:30:00Z", datetime(2026, 1, 31, 9, 30, tzinfo=UTC)),
        ("2026-01-31t09:30:00.5z", datetime(2026, 1, 31, 9, 30, 0, 500_000, tzinfo=UTC)),
        ("2026-01-31T09:30:00.123456789+01:00", datetime(2026, 1, 31, 8, 30, 0, 123_456, tzinfo=UTC)),
        ("2026-01-31T00:00:00-00:30", datetime(2026, 1, 31, 0, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_with_any_offset_into_utc(text: str, expected: datetime) -> None:
    assert read_date_time(text) == expected
    assert read_date_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-31",
        "2026-01-31T09:30:00",
        "2026-01-31T09:30Z",
        "2026-01-31 09:30:00Z",
        "2026-02-30T09:30:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T23:59:60Z",
        "2026-01-31T09:30:00+25:00",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "\u0662026-01-31T09:30:00Z",
        1_769_851_800,
        None,
    ],
)
def test_what_is_no_time_of_rfc_3339_is_refused_with_an_example(value: Any) -> None:
    with pytest.raises(GraphQLError, match="2026-01-31T09:30:00Z"):
        read_date_time(value)


def test_a_time_is_written_in_utc_with_all_its_microseconds() -> None:
    berlin = timezone(timedelta(hours=1))
    assert write_date_time(datetime(2026, 1, 31, 10, 30, 0, 7, tzinfo=berlin)) == "2026-01-31T09:30:00.000007Z"


@pytest.mark.parametrize("value", [datetime(2026, 1, 31), "2026-01-31T09:30:00Z", None])  # noqa: DTZ001 - on purpose
def test_only_an_aware_time_is_written(value: Any) -> None:
    with pytest.raises(TypeError):
        write_date_time(value)


def test_a_cursor_is_a_string() -> None:
    assert read_cursor("abc") == "abc"
    with pytest.raises(GraphQLError):
        read_cursor(5)
