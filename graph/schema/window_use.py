"""How much of the window of moves, which the policy of a namespace bounds, is used."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import strawberry

from graph.execution.context import Info
from persistence.model.records import Namespace

COUNTED: Final = 10_000
"""Moves, at most: each is a row of an index."""


@strawberry.type(description="How many moves of a namespace the last `windowSeconds` seconds have seen.")
class WindowUse:
    used: int = strawberry.field(description="How many there were, counted up to what is allowed, and to 10,000.")
    allowed: int = strawberry.field(description="How many there may be: `windowMoves` of the policy.")
    free_at: datetime | None = strawberry.field(
        description="When the next move is allowed again; null if one is now, or if that is not counted any more."
    )


@dataclass(frozen=True, slots=True)
class UsedWindow:
    """`WindowUse`."""

    used: int
    allowed: int
    free_at: datetime | None


async def window_use(parent: strawberry.Parent[Namespace], info: Info) -> UsedWindow | None:
    policy = parent.policy
    if policy.window_moves is None:
        return None
    used, oldest_at = await info.context.services.store.history.window_use(
        parent.name,
        policy.window_seconds,
        min(policy.window_moves, COUNTED),
        involuntary=policy.involuntary_moves_limited,
    )
    is_full = used >= policy.window_moves and oldest_at is not None
    free_at = oldest_at + timedelta(seconds=policy.window_seconds) if is_full and oldest_at is not None else None
    return UsedWindow(used, policy.window_moves, free_at)
