"""Which rule a command goes by."""

from __future__ import annotations

from typing import TypeAlias

from persistence.commands import Command, ConfigureNamespace, CreateShards, DeleteShards, UpdateShards
from persistence.decisions.namespaces import configure_namespace
from persistence.decisions.nodes import drain_node, register_node, update_node
from persistence.decisions.plans import apply_plan, approve_plan, end_plan, keep_plan
from persistence.decisions.shards import change_shards
from persistence.node_commands import DrainNode, RegisterNode, UpdateNode
from persistence.outcomes import Refused
from persistence.plan_commands import ApplyPlan, ApprovePlan, KeepPlan, KeepRollback, RejectPlan, StopPlan
from persistence.writes import ReadState, WriteSet
from strategies.registry import Registry

Decision: TypeAlias = WriteSet | Refused


def decide(command: Command, state: ReadState, strategies: Registry) -> Decision:  # noqa: PLR0911 - one for each rule
    """What `command` writes given `state`, or why it may not. The command has been validated.

    Refusals do not say yet who changed last what is stale: the writer asks for that.
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
        case KeepPlan() | KeepRollback():
            return keep_plan(command, state)
        case ApprovePlan():
            return approve_plan(command, state)
        case RejectPlan() | StopPlan():
            return end_plan(command, state)
        case ApplyPlan():
            return apply_plan(command, state)
        case _:
            raise TypeError(f"no rule for {type(command).__name__}")
