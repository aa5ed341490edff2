"""How much of a plan one change makes: the next moves in the plan's order, within every namespace's budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil

from persistence.planning.proposal import Move
from persistence.policy import DEFAULT_POLICY, NamespacePolicy


def wave_moves(
    left: Sequence[Move],
    shard_counts: Mapping[str, int],
    policies: Mapping[str, NamespacePolicy],
    max_moves: int | None,
) -> Sequence[Move]:
    """The next wave of the moves that are `left`: at most `max_moves`, and up to the first that breaks a budget.

    Without `max_moves` it is all of them, in one go: whether that is too much is for the rules of the write path to
    say. The order is kept, whatever the budgets, so that progress is one number and urgent moves come first.
    """
    if max_moves is None:
        return left
    made: Counter[str] = Counter()
    for place, move in enumerate(left[:max_moves]):
        if move.from_node_id == move.to_node_id:
            continue
        made[move.namespace] += 1
        policy = policies.get(move.namespace, DEFAULT_POLICY)
        if made[move.namespace] > move_budget(shard_counts.get(move.namespace, 0), policy):
            return left[:place]
    return left[:max_moves]


def move_budget(shard_count: int, policy: NamespacePolicy) -> int:
    """How many shards of a namespace one change may move: the share, rounded up, and one at least."""
    return max(1, ceil(shard_count * Fraction(str(policy.move_budget_percent)) / 100))
