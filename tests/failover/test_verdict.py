"""The verdict names each promise that can be broken by a promotion, and is content where none is."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tests.chaos.history import History, WrittenChange
from tests.chaos.records import Acknowledged, Ledger, Listing, Record, Segment
from tests.chaos.watches import NAMESPACES, Watch
from tests.failover.faults import FaultKind, schedule
from tests.failover.history import Branch
from tests.failover.verdict import LEFT_BEHIND_SECONDS, Flaw, Position, Promotion, Read, Told, judge, mismatches

EVERYTHING = Watch()
BILLING = Watch(namespace=NAMESPACES[0])
FORK = 4
HEAD = 8
PROMOTED_AT = 100.0
LOSSLESS = Promotion("1 (switchover)", 90, PROMOTED_AT, 130, promoted=True, writes_after=[0.5, 14.9])


def history(*parts: tuple[int, int, int]) -> History:
    """Of (first revision, last, salt): each revision is a change of its own; the odd ones are of `billing`."""
    salted = [(revision, salt) for first, last, salt in parts for revision in range(first, last + 1)]
    revisions = np.array([revision for revision, _ in salted])
    fingerprints = np.array([100 * revision + salt for revision, salt in salted])
    changes = [WrittenChange(n, "writer-0", f"key {n}/{salt}", n, 1, float(n)) for n, salt in salted]
    wanted = {EVERYTHING: revisions > 0, BILLING: revisions % 2 == 1}
    return History("", revisions, fingerprints, wanted, changes, {})


FINAL = Branch(history((1, FORK, 0), (FORK + 1, HEAD, 1)), HEAD, told=True)
LOST = Branch(history((1, FORK, 0), (FORK + 1, FORK + 2, 2)), FORK, told=True)
NEVER_TOLD = replace(LOST, told=False)


def segment(revisions: Sequence[int], salts: Sequence[int], start: int = 0, end: int | None = None) -> Segment:
    fingerprints = array("q", [100 * revision + salt for revision, salt in zip(revisions, salts, strict=True)])
    return Segment("", start, revisions[-1] if end is None else end, array("q", revisions), fingerprints)


WHOLE = segment([1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 0, 0, 1, 1, 1, 1])
UP_TO_LOSS = segment([1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 2, 2])
AFTER_RELIST = segment([6, 7, 8], [1, 1, 1], start=5)


def acknowledged(change: int, salt: int) -> Acknowledged:
    return Acknowledged("an epoch", "writer-0", f"key {change}/{salt}", change, change, 1)


def everything() -> Ledger:
    return Ledger([acknowledged(n, 0 if n <= FORK else 1) for n in range(1, HEAD + 1)])


def told(
    *segments: Segment,
    ledger: Ledger | None = None,
    reads: Sequence[Read] = (),
    listings: Sequence[Listing] = (),
    mismatches: Sequence[float] = (),
    watch: Watch = EVERYTHING,
) -> Told:
    record = Record("subscriber 0", watch, list(segments or [WHOLE]), mismatches=list(mismatches))
    return Told(everything() if ledger is None else ledger, [record], reads, listings)


def flaws(told: Told, branches: Sequence[Branch] = (FINAL,), *promotions: Promotion) -> list[Flaw]:
    return [finding.flaw for finding in judge(told, branches, promotions)]


def test_a_run_that_kept_its_promises_is_not_found_fault_with() -> None:
    assert flaws(told(), [FINAL], LOSSLESS) == []


def test_an_acknowledged_change_that_the_new_primary_does_not_have_is_lost() -> None:
    ledger = everything()
    ledger.acknowledged.append(acknowledged(6, 2))
    assert flaws(told(ledger=ledger)) == [Flaw.LOST_WRITE]
    assert flaws(told(ledger=ledger), [NEVER_TOLD, FINAL]) == [Flaw.LOST_WRITE]


def test_an_acknowledged_change_may_die_with_an_asynchronous_primary() -> None:
    ledger = everything()
    ledger.acknowledged.append(acknowledged(6, 2))
    assert flaws(told(ledger=ledger), [LOST, FINAL]) == []


def test_a_change_under_another_revision_than_acknowledged_is_lost() -> None:
    ledger = everything()
    ledger.acknowledged[5] = ledger.acknowledged[5]._replace(revision=7)
    assert flaws(told(ledger=ledger)) == [Flaw.LOST_WRITE]


def test_a_key_that_was_carried_out_twice_is_named() -> None:
    changes = [*FINAL.history.changes]
    changes[6] = replace(changes[6], key=changes[5].key)
    doubled = replace(FINAL, history=replace(FINAL.history, changes=changes))
    ledger = everything()
    del ledger.acknowledged[6]
    assert flaws(told(ledger=ledger), [doubled]) == [Flaw.DOUBLED_WRITE]


def test_a_change_that_was_acknowledged_to_no_writer_is_named() -> None:
    ledger = everything()
    del ledger.acknowledged[5]
    assert flaws(told(ledger=ledger)) == [Flaw.UNASKED_WRITE]


def test_history_that_contradicts_itself_is_named() -> None:
    broken = replace(FINAL, history=replace(FINAL.history, contradictions=["revision 5 follows 3"]))
    assert flaws(told(), [broken]) == [Flaw.HISTORY]


@pytest.mark.parametrize(
    ("revisions", "salts"),
    [
        ([1, 2, 3, 4, 6, 7, 8], [0, 0, 0, 0, 1, 1, 1]),  # 5 never came
        ([1, 2, 3, 4, 5, 5, 6, 7, 8], [0, 0, 0, 0, 1, 1, 1, 1, 1]),  # 5 came twice
        ([1, 2, 3, 5, 4, 6, 7, 8], [0, 0, 0, 1, 0, 1, 1, 1]),  # 5 came before 4
        ([1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 0, 0, 2, 1, 1, 1]),  # 5 is that of the old primary
        ([1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 0, 0, 2, 2, 1, 1]),  # both are, and it goes on as if they had survived
    ],
)
@pytest.mark.parametrize("branches", [[FINAL], [LOST, FINAL]])
def test_a_wrong_diff_is_named(revisions: list[int], salts: list[int], branches: list[Branch]) -> None:
    assert flaws(told(segment(revisions, salts)), branches) == [Flaw.WRONG_DIFF]


def test_what_was_told_of_a_lost_history_is_right_until_the_subscriber_lists_again() -> None:
    assert flaws(told(UP_TO_LOSS, AFTER_RELIST, mismatches=[101]), [LOST, FINAL]) == []


def test_what_no_standby_had_must_not_be_told() -> None:
    given = told(UP_TO_LOSS, AFTER_RELIST)
    assert flaws(given, [NEVER_TOLD, FINAL]) == [Flaw.TOLD_TOO_EARLY]
    assert flaws(given, [FINAL]) == [Flaw.WRONG_DIFF]


def test_a_position_that_no_history_reached_is_a_wrong_diff() -> None:
    beyond = segment([1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 0, 0, 1, 1, 1, 1], end=HEAD + 2)
    assert flaws(told(beyond)) == [Flaw.WRONG_DIFF, Flaw.STUCK]


def test_a_filter_is_kept_to_through_a_promotion() -> None:
    assert flaws(told(segment([1, 3, 5, 7], [0, 0, 1, 1], end=HEAD), watch=BILLING)) == []
    assert flaws(told(segment([1, 3, 4, 5, 7], [0, 0, 0, 1, 1], end=HEAD), watch=BILLING)) == [Flaw.WRONG_DIFF]


def test_who_does_not_reach_the_head_is_stuck() -> None:
    assert flaws(told(segment([1, 2, 3, 4], [0, 0, 0, 0]))) == [Flaw.STUCK]
    assert flaws(Told(everything(), [Record("subscriber 0", EVERYTHING)], [], [])) == [Flaw.STUCK]


def test_what_subscribers_and_writers_were_refused_is_named() -> None:
    given = told(ledger=replace(everything(), complaints=["writer-0 was answered INTERNAL"]))
    given.records[0].complaints.append("subscriber 0 was answered FUTURE_CURSOR")
    given.records[0].stuck.append("subscriber 0 is at 4 for 60 s")
    assert flaws(given) == [Flaw.REFUSED, Flaw.REFUSED, Flaw.STUCK]


def test_a_cursor_that_is_refused_although_nothing_was_lost_is_named() -> None:
    assert flaws(told(mismatches=[99.0]), [FINAL], LOSSLESS) == [Flaw.NEEDLESS_MISMATCH]
    assert flaws(told(mismatches=[101.0]), [FINAL], LOSSLESS) == [Flaw.NEEDLESS_MISMATCH]
    assert flaws(told(mismatches=[131.0]), [FINAL], LOSSLESS) == []


def test_a_subscriber_is_counted_once_a_round() -> None:
    assert mismatches(LOSSLESS, told(mismatches=[99.0, 101.0, 131.0]).records) == 1


@pytest.mark.parametrize("seconds", [None, 15.1])
def test_a_server_that_does_not_write_in_time_is_named(seconds: float | None) -> None:
    assert flaws(told(), [FINAL], replace(LOSSLESS, writes_after=[0.5, seconds])) == [Flaw.SLOW]


def lossy(*positions: int) -> Promotion:
    return replace(LOSSLESS, fork=FORK, positions=[Position(0, revision) for revision in positions])


def test_a_lost_cursor_must_be_refused() -> None:
    quiet = segment([1, 3, 5, 7], [0, 0, 1, 1], end=HEAD)
    assert flaws(told(quiet, watch=BILLING), [LOST, FINAL], lossy(FORK + 2)) == [Flaw.KEPT_CURSOR]
    assert flaws(told(quiet, watch=BILLING, mismatches=[99.0]), [LOST, FINAL], lossy(FORK + 2)) == []


def test_a_cursor_before_the_loss_may_be_kept() -> None:
    promotion = replace(lossy(FORK), positions=[Position(0, FORK), Position(1, FORK + 1)])
    given = told()
    other = Record("subscriber 1", EVERYTHING, [UP_TO_LOSS, AFTER_RELIST], mismatches=[101.0])
    assert flaws(replace(given, records=[*given.records, other]), [LOST, FINAL], promotion) == []


def test_a_loss_that_no_subscriber_had_seen_shows_nothing() -> None:
    assert flaws(told(), [LOST, FINAL], lossy(FORK)) == [Flaw.NOTHING_LOST]


def read(revision: int, asked_at: float, known: int | None = None, server: int = 0) -> Read:
    return Read(server, "history", asked_at, asked_at + 0.1, revision, known)


def test_reads_of_one_server_go_forwards() -> None:
    assert flaws(told(reads=[read(3, 95), read(5, 99), read(5, 101)]), [FINAL], LOSSLESS) == []
    assert flaws(told(reads=[read(5, 99), read(4, 101, server=1)]), [FINAL], LOSSLESS) == []
    assert flaws(told(reads=[read(5, 99), read(4, 101)]), [FINAL], LOSSLESS) == [Flaw.BACKWARDS]


def test_a_read_that_does_not_know_what_was_acknowledged_before_it_is_stale() -> None:
    (finding,) = judge(told(reads=[read(4, 104.9, known=5)]), [FINAL], [LOSSLESS])
    assert finding.flaw is Flaw.STALE_READ
    assert "+5.0 s" in finding.sentence


def test_a_primary_that_was_left_behind_may_be_read_for_so_long_and_no_longer() -> None:
    promotion = replace(LOSSLESS, fresh_at=PROMOTED_AT + LEFT_BEHIND_SECONDS)
    assert flaws(told(reads=[read(4, 107.9, known=5)]), [FINAL], promotion) == []
    assert flaws(told(reads=[read(4, 108.1, known=5)]), [FINAL], promotion) == [Flaw.STALE_READ]
    assert flaws(told(reads=[read(5, 101, known=5), read(4, 102, known=5)]), [FINAL], promotion) == [Flaw.BACKWARDS]


def test_reads_may_go_back_where_something_was_lost() -> None:
    reads = [read(6, 95, known=6), read(5, 101, known=6), read(6, 131, known=6)]
    assert flaws(told(UP_TO_LOSS, AFTER_RELIST, reads=reads, mismatches=[99]), [LOST, FINAL], lossy(6)) == []


def listing(revision: int) -> Listing:
    return Listing(EVERYTHING, "an epoch", revision, 3, 42)


def test_a_list_must_be_what_some_history_had() -> None:
    wrong = replace(FINAL, history=replace(FINAL.history, refuted={listing(6): "history has 4 there"}))
    assert flaws(told(listings=[listing(6)]), [wrong]) == [Flaw.WRONG_TABLE]
    assert flaws(told(listings=[listing(6)]), [LOST, wrong]) == []
    assert flaws(told(listings=[listing(6)]), [NEVER_TOLD, wrong]) == [Flaw.TOLD_TOO_EARLY]
    assert flaws(told(listings=[listing(HEAD + 1)]), [FINAL]) == [Flaw.WRONG_TABLE]


def test_every_fault_comes_once_before_any_comes_again() -> None:
    order, kinds = schedule(7, 20), len(FaultKind)
    assert len(order) == 20
    assert set(order[:kinds]) == set(order[kinds : 2 * kinds]) == set(FaultKind)
    assert order == schedule(7, 20)
    assert schedule(7, 3, [FaultKind.FROZEN]) == [FaultKind.FROZEN] * 3
