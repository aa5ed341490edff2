"""Which handler decides a command, and the validation that comes before."""

from __future__ import annotations

from typing import TypeAlias

from persistence.commands.command import Command
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.nodes import DrainNode, RegisterNode, UpdateNode
from persistence.commands.plans import ApplyPlan, ApprovePlan, RejectPlan, StopPlan, StorePlan, StoreRollback
from persistence.commands.read_state import InputsRequired, ReadState
from persistence.commands.shards import CreateShards, DeleteShards, UpdateShards
from persistence.commands.write_set import WriteSet
from persistence.handlers.namespaces import configure_namespace
from persistence.handlers.nodes import drain_node, register_node, update_node
from persistence.handlers.plans import apply_plan, approve_plan, end_plan, store_plan
from persistence.handlers.shards import change_shards
from persistence.model.fields import Problems
from persistence.model.outcomes import Refused
from strategies.registry import Registry

Decision: TypeAlias = WriteSet | InputsRequired | Refused


def decide(command: Command, state: ReadState, strategies: Registry) -> Decision:  # noqa: PLR0911 - one for each handler
    """What `command` writes given `state`, or why it may not. The command has been validated.

    InputsRequired: what must be read first; decided again with them in the state, it never is. Refusals lack the last
    change of what is stale yet, which the executor reads.
    """
    match command:
        case CreateShards() | UpdateShards() | DeleteShards():
            return change_shards(command, state)
        case ConfigureNamespace():
            return configure_namespace(command, state, strategies)
        case RegisterNode():
            return register_node(command, state)
        case UpdateNode():
            return update_node(command, state)
        case DrainNode():
            return drain_node(command, state)
        case StorePlan() | StoreRollback():
            return store_plan(command, state)
        case ApprovePlan():
            return approve_plan(command, state)
        case RejectPlan() | StopPlan():
            return end_plan(command, state)
        case ApplyPlan():
            return apply_plan(command, state)
        case _:
            raise TypeError(f"no handler for {type(command).__name__}")


def validate(command: Command, strategies: Registry) -> None:
    """Raises InvalidArgument naming every field that breaks a rule."""
    problems = Problems()
    command.change.add_problems(problems)
    command.add_problems(problems)
    if isinstance(command, ConfigureNamespace) and not any(error.field == "strategyParameters" for error in problems):
        command.add_strategy_problems(problems, strategies)
    problems.raise_if_any()
