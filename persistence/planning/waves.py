"""How a plan is made in waves: where it can be cut, what the next wave has, and what nodes hold between waves.

The order of a plan's moves (`schedule`) makes every cut safe. Moves that only one change can make are not cut apart: a
wave has all of them, even where that is more than it was to have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import TypeAlias

from persistence.model.policy import NamespacePolicy
from persistence.model.records import INVOLUNTARY, MoveReason
from persistence.planning.proposal import Move, NodeLoad, Proposal

Together: TypeAlias = Sequence[tuple[int, int]] | None
"""The moves that only one change can make: the position of the first and how many they are."""


def move_budget(shard_count: int, policy: NamespacePolicy) -> int:
    """How many shards of a namespace one change may move: the share, rounded up, and one at least."""
    return max(1, ceil(shard_count * Fraction(str(policy.move_budget_percent)) / 100))


def is_limited(reason: MoveReason | str | None, policy: NamespacePolicy) -> bool:
    """Whether budget, windows and freezes are about moves for this reason; null for one that no plan makes."""
    return policy.involuntary_moves_limited or reason not in INVOLUNTARY


@dataclass(frozen=True, slots=True)
class ChangeLimit:
    """How many `moves` of a namespace one change can have, not counting those that its policy does not limit."""

    moves: int
    policy: NamespacePolicy

    def counts(self, move: Move) -> bool:
        return move.changes_owner and is_limited(move.reason, self.policy)


def change_limit(shard_count: int, policy: NamespacePolicy, recent: int = 0) -> ChangeLimit:
    """Within the budget of a change and, after `recent` moves, within that of the window."""
    budget = move_budget(shard_count, policy)
    return ChangeLimit(budget if policy.window_moves is None else min(budget, policy.window_moves - recent), policy)


def cuts(count: int, together: Together, made: int = 0) -> Iterator[int]:
    """After how many of `count` moves, of more than `made`, a change can end."""
    inside = {first + number for first, several in together or () for number in range(1, several)}
    return (number for number in range(made + 1, count + 1) if number not in inside)


def wave_moves(
    moves: Sequence[Move], together: Together, made: int, limits: Mapping[str, ChangeLimit], max_moves: int | None
) -> Sequence[Move]:
    """The next wave of a plan's moves once the first `made` were made: at most `max_moves`, and of each namespace what
    its limit allows, but at least one move with those that are made together with it.

    The order is kept, whatever the limits, so that progress is one number. Without `max_moves` it is all that is left.
    Whether it may be made is up to the rules of the write path.
    """
    if max_moves is None:
        return moves[made:]
    counts: Counter[str] = Counter()
    end = made
    for cut in cuts(len(moves), together, made):
        batch = {move.namespace for move in moves[end:cut]}
        counts.update(move.namespace for move in moves[end:cut] if _counts(move, limits))
        too_many = any(name in limits and counts[name] > max(0, limits[name].moves) for name in batch)
        if end > made and (too_many or cut - made > max_moves):
            break
        end = cut
        if too_many or end - made >= max_moves:
            break
    return moves[made:end]


def waves_left(
    moves: Sequence[Move],
    together: Together,
    made: int,
    limits: Callable[[int], Mapping[str, ChangeLimit]],
    max_moves: int,
    most: int,
) -> Iterator[Sequence[Move]]:
    """The waves that are left, at most so many; `limits` are those of the next (0), and of the ones after it."""
    for number in range(most):
        wave = wave_moves(moves, together, made, limits(number), max_moves)
        if not wave:
            return
        yield wave
        made += len(wave)


def unlimited_moves(
    moves: Sequence[Move], together: Together, made: int, limits: Mapping[str, ChangeLimit]
) -> Sequence[Move]:
    """Those after the first `made`, up to the first that a policy limits."""
    end = made
    for cut in cuts(len(moves), together, made):
        if any(is_limited(move.reason, limits[move.namespace].policy) for move in moves[end:cut]):
            break
        end = cut
    return moves[made:end]


def _counts(move: Move, limits: Mapping[str, ChangeLimit]) -> bool:
    return move.namespace in limits and limits[move.namespace].counts(move)


def wave_count(moves: Sequence[Move], together: Together, limits: Mapping[str, ChangeLimit]) -> int:
    """In how many changes a plan is made, if each is as large as the limits let it be."""
    made, number = 0, 0
    while made < len(moves):
        made += len(wave_moves(moves, together, made, limits, len(moves)))
        number += 1
    return number


def loads_with_peaks(proposal: Proposal) -> Sequence[NodeLoad]:
    peaks = peak_loads(proposal)
    return [replace(load, shards_peak=peaks[load.node_id]) for load in proposal.loads]


def peak_loads(proposal: Proposal) -> Mapping[str, int]:
    """How many shards of the planned namespaces each node holds at most before, between and after waves, however large
    these are: at any of the plan's cuts."""
    held = {load.node_id: load.shards_before for load in proposal.loads}
    peaks, start = dict(held), 0
    for cut in cuts(len(proposal.moves), proposal.together):
        batch = proposal.moves[start:cut]
        for move in batch:
            held[move.from_node_id] = held.get(move.from_node_id, 0) - 1
            held[move.to_node_id] = held.get(move.to_node_id, 0) + 1
        for move in batch:
            peaks[move.to_node_id] = max(peaks.get(move.to_node_id, 0), held[move.to_node_id])
        start = cut
    return peaks
