"""The bounded window onto the stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.feed.ring import Ring
from tests.support.rows import history_row


def filled(capacity: int, start: int, end: int) -> Ring:
    ring = Ring(capacity, start)
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


@given(
    capacity=st.integers(1, 20),
    start=st.integers(0, 50),
    steps=st.lists(st.integers(0, 9), max_size=8),
    after=st.integers(0, 150),
    limit=st.integers(1, 30),
)
def test_whatever_it_answers_is_a_gapless_stretch_of_the_stream(
    capacity: int, start: int, steps: list[int], after: int, limit: int
) -> None:
    ring = Ring(capacity, start)
    for step in steps:
        ring.extend([history_row(ring.end + 1 + offset) for offset in range(step)])
    end = start + sum(steps)
    assert ring.end == end
    assert ring.start == max(start, end - capacity)
    found = revisions(ring, after, limit)
    if after < ring.start:
        assert found is None
    else:
        assert found == list(range(after + 1, min(end, after + limit) + 1))
