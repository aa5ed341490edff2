"""The handler of a namespace's configuration."""

from __future__ import annotations

from persistence.commands.command import UNSET
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.read_state import ReadState
from persistence.commands.write_set import NamespaceWrite, WriteSet, write_set
from persistence.model.outcomes import StaleNamespace
from persistence.model.policy import DEFAULT_POLICY, NamespacePolicy
from persistence.model.records import Namespace
from strategies.registry import Registry


def configure_namespace(
    command: ConfigureNamespace, state: ReadState, strategies: Registry
) -> WriteSet | StaleNamespace:
    current = state.namespaces.get(command.name)
    actual = current.version if current else 0
    if command.expected_version != actual:
        return StaleNamespace(command.name, command.expected_version, actual, current, None)
    policy = current.policy if current else DEFAULT_POLICY
    if current is not None and _is_about_policy(command, current):
        placed_by = current.algorithm_version, current.parameters_digest
    else:
        placed_by = (
            strategies[command.strategy].algorithm_version,
            strategies.digest(command.strategy, command.strategy_parameters),
        )
    write = NamespaceWrite(
        command.name,
        command.strategy,
        dict(command.strategy_parameters),
        *placed_by,
        command.expected_version + 1,
        command.policy if isinstance(command.policy, NamespacePolicy) else policy,
        current,
    )
    return write_set(command, (command.name,), namespace=write)


def _is_about_policy(command: ConfigureNamespace, current: Namespace) -> bool:
    """Whether it changes the policy and nothing else. Then shards are placed as before, by the version of the algorithm
    that they were placed by, whichever this server has."""
    return (command.strategy, command.strategy_parameters) == (
        current.strategy,
        current.strategy_parameters,
    ) and command.policy not in (UNSET, current.policy)
