"""The verdict names what went wrong first."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
import pytest

from tests.chaos.history import History, WrittenChange
from tests.chaos.records import Acknowledged, Ledger, Record, Segment
from tests.chaos.verdict import Flaw, judge
from tests.chaos.watches import NAMESPACES, Watch

EVERYTHING = Watch()
BILLING = Watch(namespace=NAMESPACES[0])
HEAD = 6


def history(epoch: str = "e1") -> History:
    """Six revisions, each a change of its own; the odd ones are of `billing`."""
    revisions = np.arange(1, HEAD + 1)
    changes = [WrittenChange(n, "writer-0", f"key {n}", n, 1, float(n)) for n in range(1, HEAD + 1)]
    wanted = {EVERYTHING: revisions > 0, BILLING: revisions % 2 == 1}
    return History(epoch, revisions, revisions * 100, wanted, changes, {})


def record(*segments: Segment, watch: Watch = EVERYTHING) -> Record:
    return Record("subscriber 0", watch, list(segments))


def segment(revisions: Sequence[int], start: int = 0, end: int = HEAD, epoch: str = "e1") -> Segment:
    fingerprints = array("q", [100 * revision for revision in revisions])
    return Segment(epoch, start, end, array("q", revisions), fingerprints)


def acknowledged(change: int, revision: int | None = None, epoch: str = "e1") -> Acknowledged:
    return Acknowledged(epoch, "writer-0", f"key {change}", change, revision or change, 1)


def everything() -> Ledger:
    return Ledger([acknowledged(change) for change in range(1, HEAD + 1)])


@pytest.mark.parametrize(
    ("revisions", "flaw"),
    [
        ([1, 2, 3, 4, 5, 6], None),
        ([1, 2, 4, 5, 6], Flaw.MISSING),
        ([1, 2, 3, 4, 5], Flaw.MISSING),
        ([1, 2, 2, 3, 4, 5, 6], Flaw.DOUBLE),
        ([1, 2, 3, 4, 5, 6, 4], Flaw.DOUBLE),
        ([1, 3, 2, 4, 5, 6], Flaw.OUT_OF_ORDER),
        ([1, 2, 3, 4, 5, 6, 7], Flaw.UNWANTED),
    ],
)
def test_what_came_is_held_against_history(revisions: list[int], flaw: Flaw | None) -> None:
    found = judge([record(segment(revisions))], everything(), [history()])
    assert [finding.flaw for finding in found] == ([] if flaw is None else [flaw])


def test_a_filter_is_to_be_kept_to() -> None:
    assert not judge([record(segment([1, 3, 5]), watch=BILLING)], everything(), [history()])
    (found,) = judge([record(segment([1, 3, 4, 5]), watch=BILLING)], everything(), [history()])
    assert found.flaw is Flaw.UNWANTED


def test_a_diff_that_was_altered_is_named() -> None:
    altered = segment([1, 2, 3, 4, 5, 6])
    altered.fingerprints[3] += 1
    (found,) = judge([record(altered)], everything(), [history()])
    assert found.flaw is Flaw.ALTERED
    assert "revision 4" in found.sentence


def test_who_does_not_reach_the_head_is_stuck() -> None:
    (found,) = judge([record(segment([1, 2, 3], end=3))], everything(), [history()])
    assert found.flaw is Flaw.STUCK


def test_each_epoch_is_judged_by_its_own_history() -> None:
    both = record(segment([3, 4], start=2, end=4), segment([5, 6], start=4, epoch="e2"))
    ledger = Ledger([*everything().acknowledged, acknowledged(6, epoch="e2")])
    assert not judge([both], ledger, [history(), history("e2")])
    silent = record(segment([3, 4], start=2, end=4), segment([6], start=4, epoch="e2"))
    (found,) = judge([silent], ledger, [history(), history("e2")])
    assert found.flaw is Flaw.MISSING


def test_an_epoch_that_nothing_bears_is_named() -> None:
    found = judge([record(segment([1], epoch="e9"))], everything(), [history()])
    assert [finding.flaw for finding in found] == [Flaw.UNKNOWN_EPOCH, Flaw.STUCK]


def test_an_acknowledged_write_that_is_not_in_history_is_lost() -> None:
    ledger = everything()
    ledger.acknowledged[2] = acknowledged(3, revision=4)
    (found,) = judge([record(segment(range(1, 7)))], ledger, [history()])
    assert found.flaw is Flaw.LOST_WRITE


def test_a_write_that_no_client_has_seen_is_named() -> None:
    ledger = everything()
    del ledger.acknowledged[4]
    (found,) = judge([record(segment(range(1, 7)))], ledger, [history()])
    assert found.flaw is Flaw.UNASKED_WRITE
