"""Policies as the API shows them, and the refusal by one; the records are those of `persistence.policy`."""

import strawberry

import graph.enums  # noqa: F401 - registers the enums these types name
from graph import refusals
from graph.types.refusals import Refusal, describes
from persistence import outcomes
from persistence.policy import PolicyRule


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
