"""One subscriber's position: over every diff, batches of those that match, and bookmarks in time."""

from __future__ import annotations

from collections.abc import Sequence

from persistence.feed.subscriber import SubscriberPosition
from persistence.feed.tailer import FeedLimits
from persistence.model.queries import DiffFilter
from persistence.model.records import ShardDiff
from persistence.model.stream import DiffBatch
from tests.support.rows import history_row, position

LIMITS = FeedLimits(page=10, bookmark_seconds=5.0)
WANTED = DiffFilter(namespace="billing")


def a_position(revision: int = 0) -> SubscriberPosition:
    return SubscriberPosition(position(revision), WANTED, LIMITS)


def begun(revision: int = 0, now: float = 100.0) -> SubscriberPosition:
    """One that has sent its first bookmark."""
    subscriber = a_position(revision)
    assert subscriber.advance(position(revision), [], revision, now) == bookmark(revision)
    return subscriber


def bookmark(revision: int, *, caught_up: bool = True) -> DiffBatch:
    return DiffBatch(position(revision), [], caught_up)


def rows(first: int, last: int) -> list[ShardDiff]:
    return [history_row(revision) for revision in range(first, last + 1)]


def advance(
    subscriber: SubscriberPosition,
    passed: Sequence[ShardDiff],
    wanted: Sequence[ShardDiff] = (),
    *,
    head: int,
    now: float = 100.0,
) -> DiffBatch | None:
    revision = passed[-1].revision if passed else subscriber.position.revision
    return subscriber.advance(position(revision), list(wanted), head, now)


def test_it_tells_where_it_begins_although_nothing_happened() -> None:
    assert advance(a_position(7), [], head=7) == bookmark(7)


def test_the_first_bookmark_is_as_far_as_it_has_come_and_owns_to_being_behind() -> None:
    assert advance(a_position(), rows(1, 3), head=9) == bookmark(3, caught_up=False)


def test_nothing_new_and_nothing_due_is_nothing_to_tell() -> None:
    subscriber = begun(7)
    assert advance(subscriber, [], head=7, now=104.9) is None
    assert subscriber.position == position(7)


def test_what_it_wants_is_told_with_the_position_after_all_that_was_passed() -> None:
    subscriber = begun()
    passed = rows(1, 4)
    assert advance(subscriber, passed, passed[1:2], head=4) == DiffBatch(position(4), passed[1:2], True)  # noqa: FBT003


def test_a_short_run_without_a_match_is_passed_in_silence() -> None:
    subscriber = begun()
    assert advance(subscriber, rows(1, 9), head=9) is None
    assert subscriber.position == position(9)


def test_a_long_run_without_a_match_is_a_bookmark_once_it_is_as_long_as_a_page() -> None:
    subscriber = begun()
    assert advance(subscriber, rows(1, 9), head=30) is None
    assert advance(subscriber, rows(10, 10), head=30) == bookmark(10, caught_up=False)
    assert advance(subscriber, rows(11, 19), head=30) is None
    assert advance(subscriber, rows(20, 30), head=30) == bookmark(30)


def test_a_bookmark_is_due_after_a_silence_and_then_after_the_next_one() -> None:
    subscriber = begun()
    assert advance(subscriber, [], head=0, now=105.0) == bookmark(0)
    assert advance(subscriber, [], head=0, now=105.0) is None
    assert advance(subscriber, [], head=0, now=110.0) == bookmark(0)


def test_a_batch_breaks_the_silence_like_a_bookmark() -> None:
    subscriber = begun()
    (diff,) = rows(1, 1)
    assert advance(subscriber, [diff], [diff], head=1, now=104.0) is not None
    assert advance(subscriber, [], head=1, now=108.0) is None
    assert advance(subscriber, [], head=1, now=109.0) == bookmark(1)


def test_what_is_passed_in_silence_does_not_put_the_bookmark_off() -> None:
    subscriber = begun()
    assert advance(subscriber, rows(1, 2), head=2, now=104.0) is None
    assert advance(subscriber, rows(3, 3), head=3, now=105.0) == bookmark(3)


def test_seconds_to_the_bookmark_count_down_to_zero() -> None:
    subscriber = begun()
    assert subscriber.seconds_to_bookmark(100.0) == 5.0
    assert subscriber.seconds_to_bookmark(104.0) == 1.0
    assert subscriber.seconds_to_bookmark(200.0) == 0.0


def test_a_head_that_was_passed_meanwhile_is_caught_up() -> None:
    """The ring may have grown past what was the head when that was read."""
    assert advance(begun(), rows(1, 5), rows(5, 5), head=4) == DiffBatch(position(5), rows(5, 5), True)  # noqa: FBT003
