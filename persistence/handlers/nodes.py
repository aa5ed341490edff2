"""Handlers of the commands on nodes: registering, changing and draining them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from persistence.commands.command import UNSET
from persistence.commands.nodes import DrainNode, RegisterNode, UpdateNode
from persistence.commands.read_state import ReadState
from persistence.commands.write_set import NodeWrite, WriteSet, write_set
from persistence.model.outcomes import NodeInUse, NotFound, StaleNode
from persistence.model.records import Node, NodeStatus


def register_node(command: RegisterNode, state: ReadState) -> WriteSet | StaleNode:
    current = state.nodes.get(command.node_id)
    if current is not None and current.status is not NodeStatus.REMOVED:
        return StaleNode(command.node_id, 0, current.version, current, None)
    write = NodeWrite(
        command.node_id,
        command.region,
        command.zone,
        dict(command.labels or {}),
        command.weight,
        command.status,
        command.change.change_ticket,
        current.version + 1 if current else 1,
        current,
    )
    return write_set(command, (), node=write)


def update_node(command: UpdateNode, state: ReadState) -> WriteSet | StaleNode | NotFound | NodeInUse:
    current = state.nodes.get(command.node_id)
    if current is None or current.status is NodeStatus.REMOVED:
        return NotFound(nodes=(command.node_id,))
    if current.version != command.expected_version:
        return StaleNode(command.node_id, command.expected_version, current.version, current, None)
    if command.status is NodeStatus.REMOVED and current.shard_count + current.leader_count > 0:
        return NodeInUse(current)
    patch = {
        "region": command.region,
        "zone": command.zone,
        "labels": dict(command.labels) if isinstance(command.labels, Mapping) else command.labels,
        "weight": command.weight,
        "status": command.status,
    }
    return _written(command, current, {name: value for name, value in patch.items() if value is not UNSET})


def drain_node(command: DrainNode, state: ReadState) -> WriteSet | StaleNode | NotFound:
    current = state.nodes.get(command.node_id)
    if current is None or current.status is NodeStatus.REMOVED:
        return NotFound(nodes=(command.node_id,))
    if current.version != command.expected_version:
        return StaleNode(command.node_id, command.expected_version, current.version, current, None)
    return _written(command, current, {"status": NodeStatus.DRAINING})


def _written(command: UpdateNode | DrainNode, current: Node, patch: Mapping[str, Any]) -> WriteSet:
    write = NodeWrite(
        current.node_id,
        current.region,
        current.zone,
        current.labels,
        current.weight,
        current.status,
        command.change.change_ticket,
        current.version + 1,
        current,
    )
    return write_set(command, (), node=replace(write, **patch))
