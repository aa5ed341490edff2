"""The live end of the stream: what was read either follows, or shows that the stream is another one."""

from __future__ import annotations

import pytest

from persistence.feed.tailer import Advanced, FeedLimits, Lost, Received, Replaced, Tailer
from persistence.model.records import ChangeMark, ShardDiff, StreamPosition
from persistence.model.stream import OmittedRange, StreamHead, StreamPage
from tests.support.rows import history_row, mark_at, position, rows_of_one_change


def rows(first: int, last: int) -> list[ShardDiff]:
    return [history_row(revision) for revision in range(first, last + 1)]


def head(
    revision: int,
    *,
    epoch: str = "one",
    floor: int = 0,
    mark: ChangeMark | None = None,
    newest: ChangeMark | None = None,
) -> StreamHead:
    mark = mark or mark_at(revision)
    return StreamHead(epoch, revision, floor, mark, newest or mark)


def told(tailer: Tailer, head: StreamHead, diffs: list[ShardDiff], *, known: bool = True) -> Received:
    return tailer.receive(StreamPage(head, diffs, known))


def at(revision: int) -> Tailer:
    """A tailer that has received everything up to a revision, and holds the last three diffs at most."""
    tailer = Tailer(head(max(0, revision - 3)), FeedLimits(ring=3, page=4))
    told(tailer, head(revision), rows(tailer.position.revision + 1, revision))
    return tailer


def held(tailer: Tailer) -> tuple[int, int]:
    return tailer.ring.start, tailer.ring.end


def test_it_begins_at_the_head_without_what_came_before() -> None:
    tailer = Tailer(head(7), FeedLimits(ring=3, page=4))
    assert tailer.position == position(7)
    assert tailer.ring.after(7, 10) == []
    assert tailer.ring.after(6, 10) is None


def test_what_follows_is_new_and_the_oldest_leave() -> None:
    tailer = at(5)
    new = rows(6, 7)
    assert told(tailer, head(7), new) == Advanced(new, None, more=False)
    assert (tailer.position, held(tailer)) == (position(7), (4, 7))


def test_a_page_that_does_not_reach_the_head_asks_for_more() -> None:
    tailer = at(5)
    assert told(tailer, head(9), rows(6, 7)) == Advanced(rows(6, 7), None, more=True)
    assert told(tailer, head(9), rows(8, 9)) == Advanced(rows(8, 9), None, more=False)


def test_nothing_new_is_an_advance_by_nothing() -> None:
    tailer = at(5)
    assert told(tailer, head(5), []) == Advanced([], None, more=False)
    assert held(tailer) == (2, 5)


def test_a_head_beyond_what_could_be_read_does_not_ask_at_once_again() -> None:
    """That would be a loop without a pause, should a store ever answer so."""
    assert told(at(5), head(6), []) == Advanced([], None, more=False)


def test_another_epoch_is_another_stream_whatever_its_revisions() -> None:
    for revision in (2, 5, 9):
        tailer = at(5)
        assert told(tailer, head(revision, epoch="two"), rows(6, 9)) == Replaced(position(revision, "two"))
        assert (tailer.position, held(tailer)) == (position(revision, "two"), (revision, revision))


def test_a_floor_it_has_not_come_to_takes_away_what_should_follow() -> None:
    tailer = at(5)
    assert told(tailer, head(9, floor=6), rows(7, 9)) == Replaced(position(9))
    assert held(tailer) == (9, 9)


def test_a_floor_at_its_end_takes_nothing_away() -> None:
    tailer = at(5)
    assert told(tailer, head(6, floor=5), rows(6, 6)) == Advanced(rows(6, 6), None, more=False)


def test_revisions_that_are_gone_are_told_and_nothing_is_forgotten_until_there_is_a_new_epoch() -> None:
    tailer = at(5)
    assert told(tailer, head(4), []) == Lost(position(5), mark_at(5), head(4))
    assert (tailer.position, held(tailer)) == (position(5), (2, 5))
    assert told(tailer, head(4, epoch="two"), []) == Replaced(position(4, "two"))


def test_a_change_that_is_not_known_any_more_is_told_although_what_follows_fits() -> None:
    tailer = at(5)
    assert told(tailer, head(7), rows(6, 7), known=False) == Lost(position(5), mark_at(5), head(7))
    assert (tailer.position, held(tailer)) == (position(5), (2, 5))
    assert told(tailer, head(7, epoch="two"), []) == Replaced(position(7, "two"))


def test_a_change_of_no_shard_is_the_newest_and_moves_no_position() -> None:
    tailer, configured = at(5), ChangeMark(6, b"assigned")
    assert told(tailer, head(5, newest=configured), []) == Advanced([], None, more=False)
    assert (tailer.position, tailer.newest) == (position(5), configured)
    assert told(tailer, head(5), [], known=False) == Lost(position(5), configured, head(5))


def test_while_there_is_more_to_read_the_newest_change_is_that_of_the_last_row() -> None:
    """What the head names has not been sent yet: no subscriber could lose it."""
    tailer = at(5)
    told(tailer, head(9), rows(6, 7))
    assert tailer.newest == mark_at(7)
    told(tailer, head(9, newest=ChangeMark(10, b"assigned")), rows(8, 9))
    assert tailer.newest == ChangeMark(10, b"assigned")


def test_it_names_the_change_of_each_revision_that_it_holds() -> None:
    tailer = at(5)
    marks = [tailer.ring.mark_at(revision) for revision in range(7)]
    assert marks == [None, None, *(mark_at(revision) for revision in range(2, 6)), None]


def test_the_marks_it_remembers_as_values_are_those_of_the_ring() -> None:
    tailer = at(5)
    told(tailer, head(7), rows(6, 7))
    assert [tailer.mark_at(revision) for revision in range(3, 9)] == [
        None,
        *(mark_at(each) for each in (4, 5, 6, 7)),
        None,
    ]


def test_it_gives_what_follows_a_position_up_to_where_a_page_ends_and_where_that_leads() -> None:
    tailer = Tailer(head(2), FeedLimits(ring=10, page=4))
    told(tailer, head(7), rows(3, 6))
    assert tailer.position == position(6)
    told(tailer, head(7), rows(7, 7))
    assert tailer.after(position(2)) == (rows(3, 4), position(4))
    assert tailer.after(position(5)) == (rows(6, 7), position(7))
    assert tailer.after(position(7)) == ([], position(7))


def test_of_what_it_does_not_hold_it_gives_nothing() -> None:
    assert [at(5).after(position(revision)) for revision in (1, 6)] == [None, None]


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (rows(7, 8), "revision 7 does not follow 5"),
        (rows(5, 6), "revision 5 does not follow 5"),
        ([*rows(6, 6), *rows(8, 8)], "revision 8 does not follow 6"),
        (rows(6, 7)[::-1], "revision 7 does not follow 5"),
    ],
)
def test_what_does_not_follow_is_refused_and_it_stays_as_it_was(wrong: list[ShardDiff], problem: str) -> None:
    tailer = at(5)
    with pytest.raises(ValueError, match=problem):
        told(tailer, head(8), wrong)
    assert (tailer.position, held(tailer)) == (position(5), (2, 5))
    assert told(tailer, head(8), rows(6, 8)) == Advanced(rows(6, 8), None, more=False)


def change_of(length: int) -> list[ShardDiff]:
    """That follows revision 5."""
    return rows_of_one_change(6, [("billing" if number % 2 else "orders", "node-a") for number in range(length)])


def test_the_rest_of_a_long_change_is_left_out() -> None:
    tailer, rows = at(5), change_of(10)
    omitted = OmittedRange(8, 15, frozenset({"billing", "orders"}), rows[0].change.mark)
    assert told(tailer, head(16), rows[:2]) == Advanced(rows[:2], omitted, more=True)
    assert tailer.position.revision == 15
    assert (tailer.ring.omitted_after(7), tailer.ring.after(7, 10)) == (omitted, None)
    assert {tailer.ring.mark_at(revision) for revision in range(6, 16)} == {rows[0].change.mark}
    assert tailer.position == StreamPosition("one", 15, rows[0].change.mark)
    assert told(tailer, head(16), [history_row(16)]) == Advanced([history_row(16)], None, more=False)


def test_a_change_that_ends_within_another_page_is_read_to_its_end() -> None:
    rows = change_of(6)
    assert told(at(5), head(11), rows[:2]) == Advanced(rows[:2], None, more=True)


def test_a_change_that_reaches_beyond_the_head_is_not_believed() -> None:
    rows = change_of(10)
    assert told(at(5), head(14), rows[:2]) == Advanced(rows[:2], None, more=True)
