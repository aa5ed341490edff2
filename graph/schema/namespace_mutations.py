"""The input of a namespace's policy. What a policy may hold, the store checks."""

from datetime import datetime

import strawberry

from graph.types import policies as words
from persistence import policy


@strawberry.input(description="A time in which changes of a namespace's shards are refused.")
class FreezeWindowInput:
    begins: datetime = strawberry.field(description=words.BEGINS)
    ends: datetime = strawberry.field(description=words.ENDS)
    reason: str = strawberry.field(description=words.FREEZE_REASON)


@strawberry.input(
    description="What changes of a namespace's shards must keep to. It replaces all of the policy: "
    "what is left out has its default."
)
class NamespacePolicyInput:
    ticket_required: bool = strawberry.field(default=False, description=words.TICKET_REQUIRED)
    ticket_pattern: str | None = strawberry.field(default=None, description=words.TICKET_PATTERN)
    approval_required: bool = strawberry.field(default=False, description=words.APPROVAL_REQUIRED)
    move_budget_percent: float = strawberry.field(default=10.0, description=words.MOVE_BUDGET_PERCENT)
    window_seconds: int = strawberry.field(default=3600, description=words.WINDOW_SECONDS)
    window_moves: int | None = strawberry.field(default=None, description=words.WINDOW_MOVES)
    shard_window_moves: int | None = strawberry.field(default=None, description=words.SHARD_WINDOW_MOVES)
    freezes: list[FreezeWindowInput] = strawberry.field(default_factory=list, description=words.FREEZES)

    def policy(self) -> policy.NamespacePolicy:
        return policy.NamespacePolicy(
            self.ticket_required,
            self.ticket_pattern,
            self.approval_required,
            self.move_budget_percent,
            self.window_seconds,
            self.window_moves,
            self.shard_window_moves,
            tuple(policy.FreezeWindow(freeze.begins, freeze.ends, freeze.reason) for freeze in self.freezes),
        )
