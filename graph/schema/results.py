"""What outcomes of several mutations share: refusals, how a union finds its member, and the position of a change."""

from collections.abc import Callable
from typing import Any, Final

import strawberry

from graph.schema import commands, messages
from graph.schema.broken_rules import BrokenRule
from graph.schema.changes import Change
from graph.schema.scalars import Revision
from graph.schema.shards import ShardKey
from persistence.codec import cursors
from persistence.codec.cursors import Cursor
from persistence.model import outcomes
from persistence.model.outcomes import PlanApplied, ShardsChanged

REPLAYED = "True if an earlier request with the same idempotency key made the change; this one wrote nothing."


def describes(record: type) -> Callable[[object, Any], bool]:
    """The test by which GraphQL finds the member of a union: this type stands for instances of `record`."""

    def is_type_of(value: object, _info: Any) -> bool:
        return isinstance(value, record)

    return is_type_of


@strawberry.interface(description="Why nothing was written.")
class Refusal:
    message: str = strawberry.field(description="What happened, in a sentence for the operator.")


PLACEMENT_WARNINGS: Final = (
    "Namespaces that cannot be placed since this change, or could not without one of their nodes: at most 21. Only "
    "looked for when selected."
)


@strawberry.type(name="Warning", description="What is likely a mistake in a request that was carried out all the same.")
class AdmissionWarning:
    code: outcomes.WarningCode = strawberry.field(description="What it is about.")
    field: str | None = strawberry.field(
        description="The field as a path into the input, such as `shards[3].ownerNodeId`; null if it is none."
    )
    message: str = strawberry.field(description="What is likely wrong, in a sentence for the operator.")
    suggestion: str | None = strawberry.field(description="What may have been meant instead, if anything is alike.")
    namespace: str | None = strawberry.field(description="The namespace it is about; null if it is about none.")


@strawberry.type(description="Something the request names is not there. Nothing was written.")
class NotFound(Refusal):
    is_type_of = staticmethod(describes(outcomes.NotFound))

    message = strawberry.field(resolver=messages.not_found, description="What is missing, in a sentence.")
    namespaces: list[str] = strawberry.field(description="The namespaces that do not exist.")
    shards: list[ShardKey] = strawberry.field(description="The shards that do not exist.")
    nodes: list[str] = strawberry.field(description="The nodes that are not registered.")
    plans: list[strawberry.ID] = strawberry.field(description="The plans that do not exist.")
    changes: list[str] = strawberry.field(description="The ids of changes that do not exist, or tickets without one.")


@strawberry.type(description="The idempotency key already belongs to another request. Nothing was written.")
class IdempotencyKeyReused(Refusal):
    is_type_of = staticmethod(describes(outcomes.IdempotencyKeyReused))

    message = strawberry.field(resolver=messages.key_reused, description="Whose key it is, in a sentence.")
    key: str = strawberry.field(description="The key.")
    change: Change = strawberry.field(description="The change that the earlier request made.")


@strawberry.type(description="What is wrong with one field of the input.")
class FieldError:
    field: str = strawberry.field(description="The field as a path into the input, such as `shards[3].capacityHint`.")
    message: str = strawberry.field(description="What is wrong with it.")


@strawberry.type(description="The input breaks a documented rule. Nothing was written.")
class InvalidInput(Refusal):
    is_type_of = staticmethod(describes(commands.InvalidInput))

    message = strawberry.field(resolver=messages.invalid_input, description="What is wrong, in a sentence.")
    errors: list[FieldError] = strawberry.field(description="Everything that is wrong, at most 100 entries.")


def cursor(parent: strawberry.Parent[ShardsChanged | PlanApplied]) -> Cursor:
    return cursors.STREAM.write(parent.position)


def revision(parent: strawberry.Parent[ShardsChanged | PlanApplied]) -> Revision:
    return Revision(parent.position.revision)


@strawberry.type(description="The request would break rules of a namespace's policy. Nothing was written.")
class PolicyViolation(Refusal):
    is_type_of = staticmethod(describes(outcomes.PolicyViolation))

    message = strawberry.field(resolver=messages.policy_violation, description="Which rule, in a sentence.")
    violations: list[BrokenRule] = strawberry.field(description="The rules it would break, at most 100 entries.")
    omitted: int = strawberry.field(description="How many more there are than listed.")
