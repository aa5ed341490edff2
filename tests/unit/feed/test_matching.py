"""What a filter matches of a run of diffs is worked out once, and not remembered for ever."""

from __future__ import annotations

from collections import Counter

import pytest

from persistence.feed.subscriber import Matching
from persistence.model.queries import DiffFilter, ShardFilter
from persistence.model.records import ShardDiff
from tests.support.rows import history_row

BILLING = DiffFilter(namespace="billing")
NODE_A = DiffFilter(shards=ShardFilter(owner_node_ids=("node-a",)))


@pytest.fixture
def matched(monkeypatch: pytest.MonkeyPatch) -> Counter[DiffFilter]:
    """How often each filter was called for a diff."""
    asked: Counter[DiffFilter] = Counter()
    matches = DiffFilter.matches

    def counting(self: DiffFilter, diff: ShardDiff) -> bool:
        asked[self] += 1
        return matches(self, diff)

    monkeypatch.setattr(DiffFilter, "matches", counting)
    return asked


def run(first: int, last: int) -> list[ShardDiff]:
    """Billing has the even revisions, node-a every third one."""
    return [
        history_row(
            revision,
            namespace="search" if revision % 2 else "billing",
            owner="node-b" if revision % 3 else "node-a",
        )
        for revision in range(first, last + 1)
    ]


def revisions(diffs: object) -> list[int]:
    assert isinstance(diffs, list)
    return [diff.revision for diff in diffs]


def test_each_filter_examines_a_run_once_however_many_subscribers_have_it(matched: Counter[DiffFilter]) -> None:
    matching, diffs = Matching(), run(1, 6)
    for _ in range(10):
        assert revisions(matching.select(BILLING, diffs)) == [2, 4, 6]
        assert revisions(matching.select(NODE_A, list(diffs))) == [3, 6]
    assert matched == {BILLING: 6, NODE_A: 6}


def test_equal_filters_are_one_filter(matched: Counter[DiffFilter]) -> None:
    matching, diffs = Matching(), run(1, 6)
    for owners in (["node-a"], ("node-a",)):
        matching.select(DiffFilter(shards=ShardFilter(owner_node_ids=owners)), diffs)
    assert sum(matched.values()) == 6


def test_a_filter_that_matches_everything_gets_diffs_unexamined(matched: Counter[DiffFilter]) -> None:
    diffs = run(1, 6)
    assert Matching().select(DiffFilter(), diffs) is diffs
    assert not matched


def test_nothing_is_nothing() -> None:
    assert list(Matching().select(BILLING, [])) == []


def test_runs_that_begin_or_end_elsewhere_are_distinguished() -> None:
    matching = Matching()
    assert revisions(matching.select(BILLING, run(1, 6))) == [2, 4, 6]
    assert revisions(matching.select(BILLING, run(3, 6))) == [4, 6]
    assert revisions(matching.select(BILLING, run(1, 4))) == [2, 4]


def test_what_was_asked_long_ago_is_worked_out_anew(matched: Counter[DiffFilter]) -> None:
    matching, diffs = Matching(), run(1, 2)
    for revision in range(10, 10 + 255):
        matching.select(BILLING, run(revision, revision))
    matching.select(BILLING, diffs)
    asked = matched[BILLING]
    matching.select(BILLING, diffs)
    assert matched[BILLING] == asked
    for revision in range(1_000, 1_000 + 256):
        matching.select(BILLING, run(revision, revision))
    asked = matched[BILLING]
    matching.select(BILLING, diffs)
    assert matched[BILLING] == asked + 2
