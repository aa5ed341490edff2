"""Policies as the API shows them, and the refusal by one; the records are those of `persistence.policy`."""

from datetime import datetime

import strawberry

import graph.enums  # noqa: F401 - registers the enums these types name
from graph import refusals
from graph.types.refusals import Refusal, describes
from persistence import outcomes
from persistence.policy import PolicyRule

TICKET_REQUIRED = "Whether changes of shards need a ticket."
TICKET_PATTERN = (
    "A regular expression (RE2 syntax, at most 256 characters) that must match the whole of every ticket given; "
    "null for any ticket."
)
APPROVAL_REQUIRED = "Whether a plan is applied only after someone else than its submitter approved it."
MOVE_BUDGET_PERCENT = (
    "The share of the namespace's shards that one change may move, more than 0 and at most 100 percent. Rounded up, "
    "and one shard at least. A move gives a shard that is there another owner."
)
WINDOW_SECONDS = "The length of the windows in which moves are counted: 1 to 2,592,000 seconds."
WINDOW_MOVES = "How many moves the namespace may see in any window; null for any number."
SHARD_WINDOW_MOVES = "How many moves one shard may see in any window; null for any number."
FREEZES = "When its shards may not be changed at all; at most 32 windows."
BEGINS = "When it begins."
ENDS = "When it ends: changes are allowed again from this moment on."
FREEZE_REASON = "Why. Not blank, at most 1,024 characters."


@strawberry.type(description="A time in which changes of a namespace's shards are refused.")
class FreezeWindow:
    begins: datetime = strawberry.field(description=BEGINS)
    ends: datetime = strawberry.field(description=ENDS)
    reason: str = strawberry.field(description=FREEZE_REASON)


@strawberry.type(description="What changes of a namespace's shards must keep to.")
class NamespacePolicy:
    ticket_required: bool = strawberry.field(description=TICKET_REQUIRED)
    ticket_pattern: str | None = strawberry.field(description=TICKET_PATTERN)
    approval_required: bool = strawberry.field(description=APPROVAL_REQUIRED)
    move_budget_percent: float = strawberry.field(description=MOVE_BUDGET_PERCENT)
    window_seconds: int = strawberry.field(description=WINDOW_SECONDS)
    window_moves: int | None = strawberry.field(description=WINDOW_MOVES)
    shard_window_moves: int | None = strawberry.field(description=SHARD_WINDOW_MOVES)
    freezes: list[FreezeWindow] = strawberry.field(description=FREEZES)


@strawberry.type(description="A rule of a namespace's policy that the request would break.")
class BrokenRule:
    rule: PolicyRule = strawberry.field(description="The rule.")
    namespace: str = strawberry.field(description="The namespace whose policy it is in.")
    shard_id: str | None = strawberry.field(description="The shard it is about; null if it is about the whole change.")
    actual: str = strawberry.field(description="What the request comes to, such as `61 of 500 shards, 12.2 %`.")
    allowed: str = strawberry.field(description="What the policy allows, such as `50, 10 %`.")
    remedy: str = strawberry.field(description="How to go on, in a sentence.")


@strawberry.type(description="The request would break rules of a namespace's policy. Nothing was written.")
class PolicyViolation(Refusal):
    is_type_of = staticmethod(describes(outcomes.PolicyViolation))

    message = strawberry.field(resolver=refusals.policy_violation, description="Which rule, in a sentence.")
    violations: list[BrokenRule] = strawberry.field(description="The rules it would break, at most 100 entries.")
    omitted: int = strawberry.field(description="How many more there are than listed.")
