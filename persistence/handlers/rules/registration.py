"""The rule of registration: shards are given to nodes that there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from persistence.commands.read_state import ReadState
from persistence.commands.write_set import ShardWrite
from persistence.model.outcomes import BrokenRule
from persistence.model.policy import PolicyRule
from persistence.model.records import DiffKind, NodeStatus


def unregistered(writes: Sequence[ShardWrite], state: ReadState) -> Iterator[BrokenRule]:
    """Owners and leaders that the change gives to shards of a namespace that requires it, and that are not registered,
    or removed. What is so already is left alone."""
    if not any(namespace.policy.owners_must_be_registered for namespace in state.namespaces.values()):
        return
    nodes = {**state.nodes, **({} if state.inputs is None else state.inputs.nodes)}
    for write in writes:
        if write.kind is DiffKind.DELETED or not state.namespaces[write.key.namespace].policy.owners_must_be_registered:
            continue
        for role, node_id in given_nodes(write):
            node = nodes.get(node_id)
            if node is None or node.status is NodeStatus.REMOVED:
                yield BrokenRule(
                    PolicyRule.REGISTRATION_REQUIRED,
                    *write.key,
                    f"{node_id} as {role}, which is {'not registered' if node is None else 'removed'}",
                    "registered nodes",
                    "Name one, or register it first.",
                )


def given_nodes(write: ShardWrite) -> Iterator[tuple[str, str]]:
    """The nodes that the change gives to the shard, each with what it is to it."""
    before, after = write.previous, write.content
    if before is None or before.owner_node_id != after.owner_node_id:
        yield "owner", after.owner_node_id
    if after.leader_id is not None and (before is None or before.leader_id != after.leader_id):
        yield "leader", after.leader_id
