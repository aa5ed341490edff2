"""Rows of history that are shown again are the same objects, within a bound."""

from __future__ import annotations

from persistence.postgres.diff_rows import HeldRows

LIMIT = 3


def rows(*numbers: int) -> list[tuple[int, str]]:
    """Of these numbers, made anew."""
    return [(number, f"row {number}") for number in numbers]


def test_a_row_that_is_read_again_is_the_one_that_was_read_before() -> None:
    held = HeldRows(LIMIT)
    first = held.same(rows(1, 2))
    assert first == rows(1, 2)
    assert not any(map(held.holds, first)), "a page that is read once is not worth keeping"
    again = held.same(rows(2, 3, 1))
    assert again[0] is first[1]
    assert again[2] is first[0]
    assert [held.holds(row) for row in again] == [True, False, True]


def test_a_row_that_differs_is_another() -> None:
    held = HeldRows(LIMIT)
    held.same([(1, "lost in a failover")])
    (other,) = held.same([(1, "given out again")])
    assert other == (1, "given out again")
    assert not held.holds(other)


def test_rows_that_are_not_read_any_more_are_given_up() -> None:
    held = HeldRows(LIMIT)
    (often,) = held.same(rows(0))
    for number in range(1, 100):
        assert held.same(rows(0))[0] is often, "read again before two generations have passed"
        assert held.holds(often)
        held.same(rows(number))
    assert len(held) <= 2 * (LIMIT + 1)
    assert held.same(rows(1))[0] is not held.same(rows(2))[0]
    for number in range(100, 120):
        held.same(rows(number))
    assert held.same(rows(0))[0] is not often
