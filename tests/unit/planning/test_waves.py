"""How much of a plan one change makes."""

from __future__ import annotations

from collections import Counter
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.model.policy import NamespacePolicy
from persistence.model.records import MoveReason
from persistence.planning.proposal import Move
from persistence.planning.waves import move_budget, wave_moves

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
    policies = {name: NamespacePolicy(move_budget_percent=percent) for name, percent in percents.items()}
    wave = wave_moves(left, counts, policies, size)
    assert 1 <= len(wave) <= size
    assert list(wave) == left[: len(wave)]

    def over(moves: list[Move]) -> bool:
        moved = Counter(move.namespace for move in moves if move.changes_owner)
        return any(count > move_budget(counts[name], policies[name]) for name, count in moved.items())

    assert not over(list(wave))
    assert len(wave) == min(size, len(left)) or over(left[: len(wave) + 1])


@given(left=MOVES, counts=COUNTS)
def test_without_a_size_it_is_all_that_is_left(left: list[Move], counts: dict[str, int]) -> None:
    assert wave_moves(left, counts, {}, None) == left
