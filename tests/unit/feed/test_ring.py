"""The bounded window onto the stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.feed.tailer import Ring
from persistence.model.stream import OmittedRange
from tests.support.rows import history_row, mark_at

LONG = mark_at(10)


def filled(capacity: int, start: int, end: int) -> Ring:
    ring = Ring(capacity, start, mark_at(start))
    ring.extend([history_row(revision) for revision in range(start + 1, end + 1)])
    return ring


def revisions(ring: Ring, after: int, limit: int) -> list[int] | None:
    diffs = ring.after(after, limit)
    return None if diffs is None else [diff.revision for diff in diffs]


def test_it_answers_what_follows_a_revision() -> None:
    assert revisions(filled(10, 5, 9), 6, 2) == [7, 8]


def test_it_has_nothing_after_its_end_nor_beyond() -> None:
    ring = filled(10, 5, 9)
    assert revisions(ring, 9, 10) == []
    assert revisions(ring, 12, 10) == []


def test_it_admits_not_reaching_back_far_enough() -> None:
    assert revisions(filled(3, 0, 9), 5, 10) is None
    assert revisions(filled(3, 0, 9), 6, 10) == [7, 8, 9]


def test_a_gap_is_refused_rather_than_kept() -> None:
    ring = filled(10, 5, 9)
    with pytest.raises(ValueError, match="revision 11 does not follow 9"):
        ring.extend([history_row(11)])
    assert ring.end == 9


def test_what_follows_an_omitted_range_is_held() -> None:
    ring = filled(10, 5, 9)
    ring.omit(OmittedRange(10, 5_009, frozenset({"billing"}), LONG))
    ring.extend([history_row(5_010)])
    assert (ring.start, ring.end) == (5, 5_010)
    assert revisions(ring, 7, 10) == [8, 9]
    assert [revisions(ring, after, 10) for after in (9, 10, 5_008)] == [None, None, None]
    assert revisions(ring, 5_009, 10) == [5_010]


def test_an_omitted_range_is_found_from_a_position_in_it() -> None:
    ring, omitted = filled(10, 5, 9), OmittedRange(10, 5_009, frozenset({"billing"}), LONG)
    ring.omit(omitted)
    assert [ring.omitted_after(after) for after in (8, 9, 10, 5_008, 5_009)] == [None, omitted, omitted, omitted, None]


def test_an_omitted_range_that_does_not_follow_is_refused() -> None:
    ring = filled(10, 5, 9)
    with pytest.raises(ValueError, match="revision 11 does not follow 9"):
        ring.omit(OmittedRange(11, 20, frozenset(), LONG))
    assert ring.end == 9


def test_omitted_ranges_leave_as_diffs_do() -> None:
    ring = Ring(2, 0, mark_at(0))
    for first in (1, 11, 21):
        ring.omit(OmittedRange(first, first + 9, frozenset({"billing"}), LONG))
    assert (ring.start, ring.end) == (10, 30)
    assert [ring.omitted_after(after) is None for after in (9, 10, 29)] == [True, False, False]


def test_it_names_the_change_that_made_each_revision_it_goes_on_from() -> None:
    ring = filled(3, 5, 9)
    ring.omit(OmittedRange(10, 5_009, frozenset({"billing"}), LONG))
    ring.extend([history_row(5_010)])
    named = [ring.mark_at(revision) for revision in (6, 7, 8, 9, 10, 5_008, 5_009, 5_010, 5_011)]
    assert named == [None, None, mark_at(8), mark_at(9), LONG, LONG, LONG, mark_at(5_010), None]
    assert ring.end_mark == mark_at(5_010)


def test_where_it_begins_it_names_what_it_was_told_there() -> None:
    ring = filled(10, 5, 5)
    assert [ring.mark_at(revision) for revision in (4, 5, 6)] == [None, mark_at(5), None]


@given(
    capacity=st.integers(1, 20),
    start=st.integers(0, 50),
    steps=st.lists(st.integers(-9, 9), max_size=8),
    after=st.integers(0, 150),
    limit=st.integers(1, 30),
)
def test_whatever_it_answers_is_a_gapless_run_of_the_stream(
    capacity: int, start: int, steps: list[int], after: int, limit: int
) -> None:
    """Steps below zero are left out."""
    ring = Ring(capacity, start, mark_at(start))
    held: set[int] = set()
    for step in steps:
        first, last = ring.end + 1, ring.end + abs(step)
        if step < 0:
            ring.omit(OmittedRange(first, last, frozenset(), LONG))
        else:
            ring.extend([history_row(revision) for revision in range(first, last + 1)])
            held |= set(range(first, last + 1))
    assert ring.end == start + sum(map(abs, steps))
    assert sum(revision > ring.start for revision in held) <= capacity
    found = revisions(ring, after, limit)
    if after < ring.start or (after < ring.end and after + 1 not in held):
        assert found is None
        return
    wanted = []
    for revision in range(after + 1, after + limit + 1):
        if revision not in held:
            break
        wanted.append(revision)
    assert found == wanted
