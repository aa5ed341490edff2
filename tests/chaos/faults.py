"""What can go wrong, and when it does in one run: a pure function of the seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class FaultKind(StrEnum):
    LISTENER_TERMINATED = "listener terminated"
    NOTIFY_DROPPED = "NOTIFY dropped"
    NOTIFY_DOUBLED = "NOTIFY doubled"
    DATABASE_HALF_OPEN = "half-open to PostgreSQL"
    CLIENTS_HALF_OPEN = "half-open to clients"
    TRANSACTION_HELD = "foreign transaction"
    TRANSACTION_HELD_ELSEWHERE = "foreign transaction, other database"
    SERVER_KILLED = "server killed"
    POSTGRES_KILLED = "PostgreSQL killed"
    CLIENT_STALLED = "client stalled"
    RESTORED = "dump restored"
    DEPLOYED = "rolling deploy"


ONCE: Final = frozenset({FaultKind.RESTORED})
"""What comes once in a run: every restore keeps the whole history before it as a database of its own."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Strikes when `after` diffs have been acknowledged; what lasts, lasts until `lasts` more have been.

    `victim` picks the server or the subscriber it strikes, modulo how many there are.
    """

    kind: FaultKind
    after: int
    lasts: int
    victim: int


def schedule(seed: int, diffs: int, rounds: int, kinds: Sequence[FaultKind] = tuple(FaultKind)) -> list[Fault]:
    """Every kind once a round, in another order each round, spread over a run of `diffs`; ordered by when they strike.

    The last tenth is left free, so that what comes after the last fault is seen too.
    """
    randomness = random.Random(f"faults {seed}")
    order: list[FaultKind] = []
    for number in range(rounds):
        again = [kind for kind in kinds if number == 0 or kind not in ONCE]
        order += randomness.sample(again, len(again))
    if not order:
        return []
    step = diffs * 0.85 / len(order)
    return [
        Fault(
            kind,
            after=round(diffs * 0.05 + step * (place + randomness.uniform(0, 0.5))),
            lasts=round(step * randomness.uniform(1, 2)),
            victim=randomness.randrange(1_000_000),
        )
        for place, kind in enumerate(order)
    ]
