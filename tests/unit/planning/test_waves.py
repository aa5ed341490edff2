"""How much of a plan one change makes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.model.policy import DEFAULT_POLICY, NamespacePolicy
from persistence.model.records import MoveReason
from persistence.planning.planner import propose
from persistence.planning.proposal import Move
from persistence.planning.waves import (
    change_limit,
    cuts,
    loads_with_peaks,
    move_budget,
    peak_loads,
    wave_count,
    wave_moves,
)
from tests.support.snapshots import STRATEGIES, nodes, shard, snapshot

NAMESPACES: Final = ("billing", "orders", "search")
MOVES = st.lists(
    st.builds(
        Move,
        st.sampled_from(NAMESPACES),
        st.just("s"),
        st.just(1),
        st.just("node-a"),
        st.sampled_from(["node-a", "node-b", "node-b"]),
        st.just(MoveReason.ROLLBACK),
    ),
    min_size=1,
    max_size=40,
)
COUNTS = st.fixed_dictionaries({name: st.integers(0, 200) for name in NAMESPACES})
PERCENTS = st.fixed_dictionaries({name: st.sampled_from([0.1, 1, 10, 33.3, 100]) for name in NAMESPACES})


@pytest.mark.parametrize(
    ("shards", "percent", "budget"),
    [(500, 10, 50), (501, 10, 51), (30, 10, 3), (5, 10, 1), (0, 10, 1), (1000, 0.1, 1), (1001, 0.1, 2), (7, 100, 7)],
)
def test_a_budget_is_the_share_rounded_up_and_one_at_least(shards: int, percent: float, budget: int) -> None:
    assert move_budget(shards, NamespacePolicy(move_budget_percent=percent)) == budget


@given(left=MOVES, counts=COUNTS, percents=PERCENTS, size=st.integers(1, 50))
def test_a_wave_is_as_much_as_may_be_from_the_front(
    left: list[Move], counts: dict[str, int], percents: dict[str, float], size: int
) -> None:
    most = {
        name: change_limit(counts[name], NamespacePolicy(move_budget_percent=percent))
        for name, percent in percents.items()
    }
    wave = wave_moves(left, None, 0, most, size)
    assert 1 <= len(wave) <= size
    assert list(wave) == left[: len(wave)]

    def over(moves: list[Move]) -> bool:
        moved = Counter(move.namespace for move in moves if move.changes_owner)
        return any(count > most[name].moves for name, count in moved.items())

    assert not over(list(wave))
    assert len(wave) == min(size, len(left)) or over(left[: len(wave) + 1])


@given(left=MOVES)
def test_without_a_size_it_is_all_that_is_left(left: list[Move]) -> None:
    assert wave_moves(left, None, 0, {}, None) == left
    assert wave_moves(left, None, 1, {"billing": change_limit(0, DEFAULT_POLICY)}, None) == left[1:]


def moves(*pairs: str) -> list[Move]:
    """Of one namespace: `ab` is from node a to node b."""
    return [
        Move("billing", f"s{number}", 1, pair[0], pair[1], MoveReason.PLACEMENT_CHANGED)
        for number, pair in enumerate(pairs)
    ]


def test_what_is_made_together_is_not_cut_apart() -> None:
    plan, together = moves("ab", "bc", "cb", "ab", "ba"), [(1, 2), (3, 2)]
    assert list(cuts(5, together)) == [1, 3, 5]
    assert list(cuts(5, together, 1)) == [3, 5]
    for size, waves in ((1, [1, 2, 2]), (2, [1, 2, 2]), (3, [3, 2]), (4, [3, 2]), (5, [5])):
        made, sizes = 0, []
        while made < len(plan):
            sizes.append(len(wave_moves(plan, together, made, {}, size)))
            made += sizes[-1]
        assert sizes == waves, size


def test_a_batch_that_an_earlier_release_began_is_finished() -> None:
    plan, together = moves("ab", "bc", "ca", "ab"), [(0, 3)]
    assert list(cuts(4, together, 1)) == [3, 4]
    assert len(wave_moves(plan, together, 1, {}, 1)) == 2


def test_a_batch_above_the_budget_is_a_wave_for_the_rules_to_refuse() -> None:
    plan, together = moves("ab", "bc", "cb"), [(1, 2)]
    most = {"billing": change_limit(3, DEFAULT_POLICY)}
    assert wave_moves(plan, together, 0, most, 100) == plan[:1]
    assert wave_moves(plan, together, 1, most, 100) == plan[1:]
    assert wave_count(plan, together, most) == 2


def test_a_wave_is_within_the_window_too() -> None:
    policy = NamespacePolicy(move_budget_percent=50, window_moves=3)
    assert change_limit(100, policy).moves == 3
    assert change_limit(100, policy, recent=2).moves == 1
    assert change_limit(4, policy).moves == 2
    assert len(wave_moves(moves("ab", "ab", "ab"), None, 0, {"billing": change_limit(100, policy, 3)}, 9)) == 1


def test_the_peak_is_the_most_between_any_two_waves() -> None:
    there = snapshot(nodes("a", "b", "c"), [shard("s0", "a"), shard("s1", "b"), shard("s2", "c")])
    plan = replace(propose(there, STRATEGIES), moves=tuple(moves("ab", "bc", "ca")), together=None)
    assert peak_loads(plan) == {"a": 1, "b": 2, "c": 2}
    assert peak_loads(replace(plan, together=((0, 3),))) == {"a": 1, "b": 1, "c": 1}
    assert [load.shards_peak for load in loads_with_peaks(plan)] == [1, 2, 2]
