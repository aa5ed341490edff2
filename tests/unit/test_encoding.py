"""The encoding under every checksum: one encoding a value, and no two sequences of the same types alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.codec.encoding import Field, encode, microseconds

FIELDS = {
    "text": st.text(max_size=6),
    "bytes": st.binary(max_size=6),
    "integer": st.integers(-(2**63), 2**63 - 1),
    "real": st.floats(allow_nan=False),
    "time": st.datetimes(timezones=st.just(UTC)),
}
SHAPES = st.lists(st.sampled_from(sorted(FIELDS)), max_size=5)


def sequences(shape: list[str]) -> st.SearchStrategy[tuple[Field, ...]]:
    return st.tuples(*(st.none() | FIELDS[name] for name in shape))


@given(st.data())
def test_two_sequences_of_the_same_types_are_encoded_alike_only_if_they_are_equal(data: st.DataObject) -> None:
    one = sequences(data.draw(SHAPES))
    left, right = data.draw(st.tuples(one, one))
    assert (encode(*left) == encode(*right)) == (left == right)


@given(st.lists(FIELDS["text"], max_size=4), st.lists(FIELDS["text"], max_size=4))
def test_texts_of_any_number_do_not_run_into_each_other(left: list[str], right: list[str]) -> None:
    assert (encode(*left) == encode(*right)) == (left == right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("ab", "c"), ("a", "bc")),
        ((None,), ("",)),
        ((None, "a"), ("a", None)),
        (("",), ()),
        ((1,), (-1,)),
        (("é",), ("e\u0301",)),
    ],
)
def test_what_looks_alike_is_encoded_apart(left: tuple[Field, ...], right: tuple[Field, ...]) -> None:
    assert encode(*left) != encode(*right)


def test_both_zeros_are_one_value() -> None:
    assert encode(-0.0) == encode(0.0)


# Without the two ends of the calendar, where other zones have no local time for it.
@given(
    st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - bounds have no zone
    st.integers(-23 * 60, 23 * 60),
)
def test_a_time_is_the_same_in_every_zone(moment: datetime, offset_minutes: int) -> None:
    assert encode(moment.astimezone(timezone(timedelta(minutes=offset_minutes)))) == encode(moment)


def test_microseconds_are_exact_where_a_float_is_not() -> None:
    assert microseconds(datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)) == 253_402_300_799_999_999


def test_a_lone_surrogate_is_refused_before_it_can_reach_the_hash() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode("\ud800")
