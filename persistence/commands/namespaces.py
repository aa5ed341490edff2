"""Configuring a namespace: its strategy, parameters and policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from persistence.commands.command import NOT_NULL, UNSET, ChangeRequest, Unset
from persistence.commands.read_state import ReadSet
from persistence.model import fields as rules
from persistence.model.fields import Problems
from persistence.model.policy import NamespacePolicy
from persistence.model.policy_rules import add_policy_problems
from persistence.model.records import ChangeKind
from strategies.registry import Registry


@dataclass(frozen=True, slots=True)
class ConfigureNamespace:
    """Create the namespace (`expected_version` 0) or change its strategy, parameters and policy.

    Without a policy it has the one it had, and a new one the default.
    """

    name: str
    strategy: str
    strategy_parameters: Mapping[str, Any]
    expected_version: int
    change: ChangeRequest
    policy: NamespacePolicy | Unset | None = UNSET
    kind = ChangeKind.CONFIGURE_NAMESPACE

    @property
    def reads(self) -> ReadSet:
        return ReadSet(namespaces=(self.name,), configure=True)

    def add_problems(self, problems: Problems) -> None:
        problems.add("name", rules.name_problem(self.name))
        problems.add("expectedVersion", rules.counter_problem(self.expected_version))
        problems.add("strategyParameters", rules.json_problem(self.strategy_parameters, limit=rules.MAX_PARAMETERS))
        if self.policy is None:
            problems.add("policy", NOT_NULL)
        elif self.policy is not UNSET:
            add_policy_problems(problems, self.policy)

    def add_strategy_problems(self, problems: Problems, strategies: Registry) -> None:
        """What is wrong with strategy and parameters, given the strategies there are. Parameters are JSON by now."""
        unknown = strategies.problem(self.strategy)
        problems.add("strategy", unknown)
        if unknown is None:
            for name, message in strategies.parameter_problems(self.strategy, self.strategy_parameters):
                problems.add(f"strategyParameters.{name}", message)
