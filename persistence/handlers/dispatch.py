"""What a command asks to be told, given what was read for it.

Which rule a command goes by.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from persistence.commands.command import Command, Unset
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.nodes import DrainNode, RegisterNode, UpdateNode
from persistence.commands.plans import ApplyPlan, ApprovePlan, RejectPlan, StopPlan, StorePlan, StoreRollback
from persistence.commands.read_state import InputsRequired, ReadState
from persistence.commands.shards import CreateShards, DeleteShards, PinRequest, ShardPatch, UpdateShards, ends
from persistence.commands.write_set import WriteSet
from persistence.handlers.namespaces import configure_namespace
from persistence.handlers.nodes import drain_node, register_node, update_node
from persistence.handlers.plans import apply_plan, approve_plan, end_plan, store_plan
from persistence.handlers.rules.pins import owner_after
from persistence.handlers.shards import change_shards
from persistence.model.fields import Problems
from persistence.model.outcomes import Refused
from persistence.model.records import GroupKey, Pin
from strategies.registry import Registry


def inputs_required_by(command: Command, state: ReadState) -> InputsRequired:
    """The clock, if a pin that ends is made or stands in the way and the state has none yet; the nodes that shards are
    pinned to; and the anti-affinity groups of the shards that are brought to a node or into a group.
    """
    pinned = list(_pinned_to(command, state))
    return InputsRequired(
        state.clock is None and any(ends(pin) for pin in (*(pin for pin, _ in pinned), *_met(command, state))),
        sorted({owner for _, owner in pinned}),
        sorted(set(_joined(command, state))),
    )


def _pinned_to(command: Command, state: ReadState) -> Iterator[tuple[PinRequest, str]]:
    """Each pin the command makes, and the node that will own the shard."""
    if not isinstance(command, CreateShards | UpdateShards):
        return
    for shard in command.shards:
        if isinstance(shard.pin, PinRequest) and (owner := owner_after(shard, state)) is not None:
            yield shard.pin, owner


def _met(command: Command, state: ReadState) -> Iterator[Pin | None]:
    """The pins of the shards that the command moves."""
    if isinstance(command, UpdateShards):
        for patch in command.shards:
            current = state.shards.get(patch.key)
            if current is not None and owner_after(patch, state) != current.owner_node_id:
                yield current.pinned
    elif isinstance(command, ApplyPlan) and state.plan is not None:
        for move in state.plan.proposal.moves:
            if move.key in state.shards:
                yield state.shards[move.key].pinned


def _joined(command: Command, state: ReadState) -> Iterator[GroupKey]:
    """The groups of the shards that the command brings to a node, or into a group."""
    members: Iterable[tuple[str, str | None]] = ()
    if isinstance(command, CreateShards):
        members = ((shard.namespace, shard.anti_affinity_group) for shard in command.shards)
    elif isinstance(command, UpdateShards):
        members = ((patch.namespace, _joined_by(patch, state)) for patch in command.shards)
    elif isinstance(command, ApplyPlan) and state.plan is not None:
        moved = (state.shards.get(move.key) for move in state.plan.proposal.moves)
        members = ((shard.namespace, shard.anti_affinity_group) for shard in moved if shard is not None)
    for namespace, group in members:
        if group is not None:
            yield GroupKey(namespace, group)


def _joined_by(patch: ShardPatch, state: ReadState) -> str | None:
    current = state.shards.get(patch.key)
    if current is None:
        return None
    before, group = current.anti_affinity_group, patch.anti_affinity_group
    after = before if isinstance(group, Unset) else group
    return after if after != before or owner_after(patch, state) != current.owner_node_id else None


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
        case StorePlan() | StoreRollback():
            return store_plan(command, state)
        case ApprovePlan():
            return approve_plan(command, state)
        case RejectPlan() | StopPlan():
            return end_plan(command, state)
        case ApplyPlan():
            return apply_plan(command, state)
        case _:
            raise TypeError(f"no rule for {type(command).__name__}")


def validate(command: Command, strategies: Registry) -> None:
    """Raises InvalidArgument naming every field that breaks a rule."""
    problems = Problems()
    command.change.add_problems(problems)
    command.add_problems(problems)
    if isinstance(command, ConfigureNamespace) and not any(error.field == "strategyParameters" for error in problems):
        command.add_strategy_problems(problems, strategies)
    problems.raise_if_any()
