"""Namespaces that a TOML file declares, and their policies in the names of the API: `[namespaces.orders.policy]`.

A declaration is merged into what there is, table by table, as a JSON merge patch is (RFC 7396); `defaults` stands for
its null, which TOML has not.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Final, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from persistence.model.fields import did_you_mean
from persistence.model.policy import (
    DEFAULT_POLICY,
    FreezeWindow,
    NamespaceConfiguration,
    NamespacePolicy,
    RecurringFreeze,
)
from strategies.registry import DEFAULT_STRATEGY

_STRICT = ConfigDict(frozen=True, strict=True, extra="forbid", alias_generator=to_camel)


class FreezeDeclaration(BaseModel):
    """`[[namespaces.orders.policy.freezes]]`."""

    model_config = _STRICT

    begins: AwareDatetime
    ends: AwareDatetime
    reason: str


class RecurringFreezeDeclaration(BaseModel):
    """`[[namespaces.orders.policy.recurringFreezes]]`."""

    model_config = _STRICT

    schedule: str
    duration: str
    time_zone: str
    reason: str
    until: AwareDatetime | None = None


class PolicyDeclaration(BaseModel):
    """What is left out stays as it is: of a default only the type counts here."""

    model_config = _STRICT

    ticket_required: bool = DEFAULT_POLICY.ticket_required
    ticket_pattern: str | None = DEFAULT_POLICY.ticket_pattern
    approval_required: bool = DEFAULT_POLICY.approval_required
    move_budget_percent: float = DEFAULT_POLICY.move_budget_percent
    window_seconds: int = DEFAULT_POLICY.window_seconds
    window_moves: int | None = DEFAULT_POLICY.window_moves
    shard_window_moves: int | None = DEFAULT_POLICY.shard_window_moves
    involuntary_moves_limited: bool = DEFAULT_POLICY.involuntary_moves_limited
    owners_must_be_registered: bool = DEFAULT_POLICY.owners_must_be_registered
    freezes: list[FreezeDeclaration] = []
    recurring_freezes: list[RecurringFreezeDeclaration] = []

    def merged(self, policy: NamespacePolicy) -> NamespacePolicy:
        """The policy with what is declared, and otherwise as it is. A declared list is the list."""
        declared = {name: getattr(self, name) for name in self.model_fields_set}
        if "freezes" in declared:
            declared["freezes"] = tuple(FreezeWindow(**dict(freeze)) for freeze in self.freezes)
        if "recurring_freezes" in declared:
            recurring = tuple(RecurringFreeze(**dict(freeze)) for freeze in self.recurring_freezes)
            declared["recurring_freezes"] = recurring
        return replace(policy, **declared)


_POLICY_FIELDS: Final = {to_camel(name): name for name in PolicyDeclaration.model_fields}

_PARAMETERS: Final = "parameters"

_POLICY: Final = "policy"


class NamespaceDeclaration(BaseModel):
    """A namespace as a TOML file declares it: `[namespaces.orders]`. What is left out stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: str | None = Field(None, description="Name of the placement strategy. Unset: the one it has.")
    parameters: dict[str, Any] = Field(
        default_factory=dict, description="Parameters of the strategy. Those left out stay, if the strategy takes them."
    )
    policy: PolicyDeclaration | None = Field(None, description="Its policy. Fields left out stay.")
    defaults: list[str] = Field(
        [],
        description=(
            "What has its default again: `strategy`, `parameters`, `policy`, or one field such as `policy.windowMoves`."
        ),
    )

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        """Raises ValueError for a name that is none, and for what is declared and in `defaults` as well."""
        policy = {_POLICY, *(f"{_POLICY}.{name}" for name in _POLICY_FIELDS)}
        for name in self.defaults:
            table, _, parameter = name.partition(".")
            if not (name in {"strategy", _PARAMETERS, *policy} or (table == _PARAMETERS and parameter)):
                raise ValueError(
                    f"defaults: there is no {name!a}{did_you_mean(name, ['strategy', _PARAMETERS, *policy])}"
                )
            if name in self.declared_fields:
                raise ValueError(f"defaults: {name} is declared as well")
        return self

    @property
    def declared_fields(self) -> set[str]:
        """For example `strategy`, `parameters.virtualNodes`, `policy.freezes`."""
        policy = set() if self.policy is None else self.policy.model_fields_set
        return {
            *(["strategy"] if self.strategy is not None else []),
            *(f"{_PARAMETERS}.{name}" for name in self.parameters),
            *(f"{_POLICY}.{to_camel(name)}" for name in policy),
        }

    @property
    def changes_policy(self) -> bool:
        return self.policy is not None or any(name.partition(".")[0] == _POLICY for name in self.defaults)

    @property
    def changes_only_policy(self) -> bool:
        placement = (
            self.strategy is not None
            or self.parameters
            or not all(name.partition(".")[0] == _POLICY for name in self.defaults)
        )
        return self.changes_policy and not placement

    def strategy_for(self, current: str | None) -> str:
        """The name of the strategy of a namespace that has that one now; null for a new namespace."""
        kept = DEFAULT_STRATEGY if current is None or "strategy" in self.defaults else current
        return self.strategy or kept

    def configuration(
        self, current: NamespaceConfiguration | None, algorithm_version: int | None, taken: Collection[str]
    ) -> NamespaceConfiguration:
        """What is declared, merged into what there is; null for a new namespace.

        `algorithm_version` and `taken`, the parameters that it takes, are those of `strategy_for(...)`. Where that is
        another one than before, the parameters that it does not take go; where it is the same, all stay. Shards are
        placed by the version of the algorithm that they were placed by where only the policy is declared.
        """
        strategy = self.strategy_for(current.strategy if current else None)
        kept: Mapping[str, Any] = {}
        policy = DEFAULT_POLICY
        if current is not None:
            same = strategy == current.strategy
            kept = {name: value for name, value in current.strategy_parameters.items() if same or name in taken}
            policy = current.policy
            algorithm_version = current.algorithm_version if self.changes_only_policy else algorithm_version
        kept = {} if _PARAMETERS in self.defaults else kept
        parameters = {name: value for name, value in kept.items() if f"{_PARAMETERS}.{name}" not in self.defaults}
        policy = DEFAULT_POLICY if _POLICY in self.defaults else policy
        reset = {name for public, name in _POLICY_FIELDS.items() if f"{_POLICY}.{public}" in self.defaults}
        policy = replace(policy, **{name: getattr(DEFAULT_POLICY, name) for name in reset})
        if self.policy is not None:
            policy = self.policy.merged(policy)
        return NamespaceConfiguration(strategy, {**parameters, **self.parameters}, algorithm_version, policy)
