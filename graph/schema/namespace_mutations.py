"""The mutation of namespaces: its input, with that of a policy, the command that it stands for, and its outcomes."""

from typing import Annotated, TypeAlias

import strawberry

from graph.auth.principal import Principal
from graph.schema import messages
from graph.schema.arguments import json_object
from graph.schema.changes import Change
from graph.schema.commands import CHANGE, UNSET_KEEPS, ChangeInput, set_or_unset
from graph.schema.namespaces import (
    FREEZES,
    RECURRING_FREEZES,
    FreezeFields,
    Namespace,
    PolicyFields,
    RecurringFreezeFields,
)
from graph.schema.results import (
    PLACEMENT_WARNINGS,
    REPLAYED,
    AdmissionWarning,
    IdempotencyKeyReused,
    InvalidInput,
    Refusal,
    describes,
)
from graph.schema.scalars import JSON, Revision
from persistence.commands import namespaces as namespace_commands
from persistence.model import outcomes, policy


@strawberry.input(description="A time in which changes of a namespace's shards are refused.")
class FreezeWindowInput(FreezeFields):
    pass


@strawberry.input(description="A time in which changes of a namespace's shards are refused, again and again.")
class RecurringFreezeInput(RecurringFreezeFields):
    pass


@strawberry.input(
    description="What changes of a namespace's shards must keep to. It replaces all of the policy: "
    "what is left out has its default."
)
class NamespacePolicyInput(PolicyFields):
    freezes: list[FreezeWindowInput] = strawberry.field(default_factory=list, description=FREEZES)
    recurring_freezes: list[RecurringFreezeInput] = strawberry.field(
        default_factory=list, description=RECURRING_FREEZES
    )

    def policy(self) -> policy.NamespacePolicy:
        freezes = tuple(policy.FreezeWindow(**vars(freeze)) for freeze in self.freezes)
        recurring = tuple(policy.RecurringFreeze(**vars(freeze)) for freeze in self.recurring_freezes)
        return policy.NamespacePolicy(**{**vars(self), "freezes": freezes, "recurring_freezes": recurring})


@strawberry.input(description="A namespace to be created, or to be given another strategy, parameters or policy.")
class ConfigureNamespaceInput:
    name: str = strawberry.field(
        description="Its name. Letters, digits, '.', '_', ':' and '-'; at most 128 characters."
    )
    strategy: str = strawberry.field(description="The placement strategy: the name of one of `strategies`.")
    strategy_parameters: JSON | None = strawberry.field(
        default=None,
        description="A JSON object with the strategy's parameters; what is left out has its default.",
    )
    policy: NamespacePolicyInput | None = strawberry.field(
        default=strawberry.UNSET, description=f"What changes of its shards must keep to. {UNSET_KEEPS}"
    )
    expected_version: Revision | None = strawberry.field(
        default=None, description="The version you have seen; null or 0 if the namespace must be new."
    )
    change: ChangeInput = strawberry.field(description=CHANGE)

    def command(self, principal: Principal) -> namespace_commands.ConfigureNamespace:
        return namespace_commands.ConfigureNamespace(
            self.name,
            self.strategy,
            json_object("strategyParameters", self.strategy_parameters, '{"virtualNodes": 160}'),
            self.expected_version or 0,
            self.change.request(principal),
            self.policy.policy() if self.policy else set_or_unset(self.policy),
        )


@strawberry.type(description="The namespace's configuration is not at the version expected. Nothing was written.")
class NamespaceVersionConflict(Refusal):
    is_type_of = staticmethod(describes(outcomes.StaleNamespace))

    message = strawberry.field(resolver=messages.stale_namespace, description="What is stale, in a sentence.")
    name: str = strawberry.field(description="The namespace.")
    expected: Revision = strawberry.field(
        name="expectedVersion", description="The version the request expected; 0 for a new namespace."
    )
    actual: Revision = strawberry.field(
        name="actualVersion", description="The version it is at; 0 if there is no such namespace."
    )
    current: Namespace | None = strawberry.field(description="The namespace as it is; null if there is none.")
    last_change: Change | None = strawberry.field(description="Who configured it last, and why.")


@strawberry.type(description="Committed.")
class NamespaceConfigured:
    is_type_of = staticmethod(describes(outcomes.NamespaceConfigured))

    change: Change = strawberry.field(description="The change it was committed as.")
    namespace: Namespace = strawberry.field(description="The namespace after the change.")
    replayed: bool = strawberry.field(description=REPLAYED)
    warnings: list[AdmissionWarning] = strawberry.field(description=PLACEMENT_WARNINGS)


ConfigureNamespaceResult: TypeAlias = Annotated[
    NamespaceConfigured | NamespaceVersionConflict | InvalidInput | IdempotencyKeyReused,
    strawberry.union("ConfigureNamespaceResult", description="What became of a request to configure a namespace."),
]
