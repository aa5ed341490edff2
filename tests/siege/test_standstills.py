"""Of what a lookup waited, the time in which a processor stood still is not the server's."""

from __future__ import annotations

from tests.siege.harness import Lookups, _program
from tests.siege.standstills import joined, overlap, processors


def test_spans_that_overlap_are_one() -> None:
    assert joined([(5.0, 6.0), (1.0, 2.0), (1.5, 3.0), (3.0, 4.0)]) == [(1.0, 4.0), (5.0, 6.0)]
    assert joined([]) == []


def test_what_is_shared_with_some_is_counted_once() -> None:
    assert overlap((2.0, 7.0), [(0.0, 1.0), (1.0, 3.0), (4.0, 5.0), (6.5, 9.0), (9.0, 10.0)]) == 2.5
    assert overlap((2.0, 7.0), []) == 0.0


def test_a_lookup_is_charged_with_what_it_waited_for_the_server() -> None:
    times = [(10.0, 10.0, 10.25), (11.0, 11.5, 11.75), (12.0, 12.0, 12.5)]
    lookups = Lookups.of(times, [(12.125, 12.375), (13.0, 14.0)])
    assert list(lookups.taken) == [250.0, 250.0, 250.0]
    assert lookups.late == 500.0
    assert lookups.stood_still == [250.0, 1_000.0]
    assert "up to 500 ms" in lookups.not_counted
    assert "2 times, for up to 1000 ms" in lookups.not_counted


def test_without_the_right_to_watch_nothing_is_left_out() -> None:
    lookups = Lookups.of([(12.0, 12.0, 12.5)], None)
    assert list(lookups.taken) == [500.0]
    assert "not known" in lookups.not_counted


async def test_a_processor_is_watched_by_a_process_of_its_own() -> None:
    found = await _program("standstills", processors()[0], 0.02)
    assert found is None or all(begin < end for begin, end in found)
