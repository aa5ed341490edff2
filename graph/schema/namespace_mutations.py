"""The input of a namespace's policy. What a policy may hold, the store checks."""

from datetime import datetime
from typing import Annotated, TypeAlias

import strawberry

import graph.schema.enums  # noqa: F401 - registers the enums these types name
from graph.auth.principal import Principal
from graph.execution.context import Info
from graph.schema import messages, namespaces
from graph.schema.arguments import json_object, set_or_unset
from graph.schema.changes import Change
from graph.schema.commands import INPUT_TO_CHANGE, UNCHANGED, Answer, ChangeInput, execute
from graph.schema.namespaces import Namespace
from graph.schema.results import REPLAYED, IdempotencyKeyReused, InvalidInput, Refusal, describes
from graph.schema.scalars import JSON, Revision
from persistence.commands import namespaces as namespace_commands
from persistence.model import outcomes, policy


@strawberry.input(description="A time in which changes of a namespace's shards are refused.")
class FreezeWindowInput:
    begins: datetime = strawberry.field(description=namespaces.BEGINS)
    ends: datetime = strawberry.field(description=namespaces.ENDS)
    reason: str = strawberry.field(description=namespaces.FREEZE_REASON)


@strawberry.input(
    description="What changes of a namespace's shards must keep to. It replaces all of the policy: "
    "what is left out has its default."
)
class NamespacePolicyInput:
    ticket_required: bool = strawberry.field(default=False, description=namespaces.TICKET_REQUIRED)
    ticket_pattern: str | None = strawberry.field(default=None, description=namespaces.TICKET_PATTERN)
    approval_required: bool = strawberry.field(default=False, description=namespaces.APPROVAL_REQUIRED)
    move_budget_percent: float = strawberry.field(default=10.0, description=namespaces.MOVE_BUDGET_PERCENT)
    window_seconds: int = strawberry.field(default=3600, description=namespaces.WINDOW_SECONDS)
    window_moves: int | None = strawberry.field(default=None, description=namespaces.WINDOW_MOVES)
    shard_window_moves: int | None = strawberry.field(default=None, description=namespaces.SHARD_WINDOW_MOVES)
    freezes: list[FreezeWindowInput] = strawberry.field(default_factory=list, description=namespaces.FREEZES)

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
        default=strawberry.UNSET, description=f"What changes of its shards must keep to. {UNCHANGED}"
    )
    expected_version: Revision | None = strawberry.field(
        default=None, description="The version you have seen; null or 0 if the namespace must be new."
    )
    change: ChangeInput = strawberry.field(description="By whom, why, and under which ticket.")

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


ConfigureNamespaceResult: TypeAlias = Annotated[
    NamespaceConfigured | NamespaceVersionConflict | InvalidInput | IdempotencyKeyReused,
    strawberry.union("ConfigureNamespaceResult", description="What became of a request to configure a namespace."),
]


async def configure_namespace(
    info: Info,
    input: Annotated[ConfigureNamespaceInput, INPUT_TO_CHANGE],  # noqa: A002 - by schema
) -> Answer:
    return await execute(info, input)
