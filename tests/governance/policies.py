"""Policies by chance, tight enough to be met often."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

from persistence.model.policy import FreezeWindow, NamespacePolicy


def random_policy(random: Random) -> NamespacePolicy:
    """Without freezes."""
    return NamespacePolicy(
        ticket_required=random.random() < 0.5,
        ticket_pattern=random.choice([None, "CHG-[0-9]+"]),
        approval_required=random.random() < 0.5,
        move_budget_percent=random.choice([2, 5, 10, 50]),
        window_seconds=random.choice([1, 3, 10]),
        window_moves=random.choice([None, None, 5, 20]),
        shard_window_moves=random.choice([None, 1, 2]),
        involuntary_moves_limited=random.random() < 0.5,
    )


def random_freezes(random: Random) -> tuple[FreezeWindow, ...]:
    """Several short ones, so that many begin while a change is on its way, the first of them soon."""
    return tuple(_freezes(random))


def _freezes(random: Random) -> Iterator[FreezeWindow]:
    moment = datetime.now(UTC)
    for _ in range(random.choice([1, 2, 8])):
        begins = moment + timedelta(milliseconds=random.randrange(20, 400))
        moment = begins + timedelta(milliseconds=random.choice([40, 150, 600]))
        yield FreezeWindow(begins, moment, "release")
