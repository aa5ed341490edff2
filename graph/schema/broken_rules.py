"""Rules of policies that requests would break: as they are answered, and as refusals are kept."""

import strawberry

from persistence.model import outcomes, records
from persistence.model.policy import PolicyRule


@strawberry.type(description="A rule of a namespace's policy that the request would break.")
class BrokenRule:
    rule: PolicyRule = strawberry.field(description="The rule.")
    namespace: str = strawberry.field(description="The namespace whose policy it is in.")
    shard_id: str | None = strawberry.field(description="The shard it is about; null if it is about the whole change.")
    actual: str = strawberry.field(description="What the request comes to, such as `61 of 500 shards, 12.2 %`.")
    allowed: str = strawberry.field(description="What the policy allows, such as `50, 10 %`.")
    remedy: str = strawberry.field(description="How to go on, in a sentence.")


def broken_rules(parent: strawberry.Parent[records.Refusal]) -> list[outcomes.BrokenRule]:
    """Of what was answered. Rules that this program does not know any more are left out."""
    violations = parent.details.get("violations") if isinstance(parent.details, dict) else None
    if parent.outcome != "PolicyViolation" or not isinstance(violations, list):
        return []
    return [
        outcomes.BrokenRule(
            PolicyRule(each["rule"]),
            each["namespace"],
            each["shardId"],
            each["actual"],
            each["allowed"],
            each["remedy"],
        )
        for each in violations
        if each.get("rule") in PolicyRule.__members__
    ]
