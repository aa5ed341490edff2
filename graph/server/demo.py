"""What happened in the demo mesh, as commands: a pure function of the ownership table it begins with.

It ends with a node that nobody has given a shard to yet: planRebalance is what comes next. Each command expects the
versions that the ones before it leave behind, so the story is the same every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from graph.demo.mesh import NAMESPACES, NEWCOMER, NODES, POLICY
from persistence.commands import (
    ChangeRequest,
    Command,
    ConfigureNamespace,
    CreateShards,
    DeleteShards,
    NewShard,
    ShardExpectation,
    ShardPatch,
    UpdateShards,
)
from persistence.node_commands import DrainNode, RegisterNode, UpdateNode
from persistence.records import NodeStatus, ShardKey, ShardStatus
from strategies.model import Node

DRAINED: Final = "node-us-2"
NEIGHBOUR: Final = "node-us-1"
BUSY: Final = "node-eu-1"


@dataclass
class _Telling:
    """The table as the story goes on: who owns what, at which version."""

    owners: dict[ShardKey, str]
    versions: dict[ShardKey, int] = field(default_factory=dict)

    def owned_by(self, node: str, namespace: str) -> list[ShardKey]:
        return [key for key, owner in self.owners.items() if owner == node and key.namespace == namespace]

    def update(self, keys: Iterable[ShardKey], change: ChangeRequest, fields: Callable[[ShardKey], Any]) -> Command:
        patches = []
        for key in keys:
            values: dict[str, Any] = fields(key)
            patches.append(ShardPatch(*key, self.versions[key], **values))
            self.versions[key] += 1
            self.owners[key] = values.get("owner_node_id", self.owners[key])
        return UpdateShards(patches, change)


def story(shards: Sequence[NewShard]) -> Iterator[Command]:
    """The commands in order. `shards` are the namespaces `orders`, `sessions` and `telemetry` at their beginning."""
    telling = _Telling({shard.key: shard.owner_node_id for shard in shards})
    yield from _founding(telling, shards)
    yield from _maintenance(telling)
    yield from _hot_shards(telling)
    yield from _incident(telling)
    yield from _mistake(telling)
    yield from _decommissioning(telling, shards)
    yield _registered(NEWCOMER, _change("carol", f"{NEWCOMER.node_id} is racked, to help {BUSY}", "CHG-1090"))


def _founding(telling: _Telling, shards: Sequence[NewShard]) -> Iterator[Command]:
    for node in NODES:
        yield _registered(node, _change("demo", f"{node.node_id} is racked", "CHG-1000"))
    for name, (strategy, parameters) in NAMESPACES.items():
        change = _change("demo", f"found the namespace {name}", "CHG-1001")
        yield ConfigureNamespace(name, strategy, parameters, 0, change, POLICY)
        own = [shard for shard in shards if shard.namespace == name]
        telling.versions |= {shard.key: 1 for shard in own}
        yield CreateShards(own, _change("demo", f"place the {len(own)} shards of {name}", "CHG-1001"))


def _maintenance(telling: _Telling) -> Iterator[Command]:
    """A node is drained for a kernel update and gets its shards back afterwards."""
    yield DrainNode(DRAINED, 1, _change("alice", "kernel update", "CHG-1042"))
    for namespace in ("orders", "sessions"):
        keys = telling.owned_by(DRAINED, namespace)
        why = _change("alice", f"drain {DRAINED} for the kernel update", "CHG-1042")
        yield telling.update(keys, why, lambda _: {"status": ShardStatus.DRAINING})
        why = _change("rebalancer", f"vacate {DRAINED}", "CHG-1042")
        yield telling.update(keys, why, lambda _: {"owner_node_id": NEIGHBOUR, "status": ShardStatus.ACTIVE})
        why = _change("rebalancer", f"{DRAINED} is back, return its shards", "CHG-1043")
        yield telling.update(keys, why, lambda _: {"owner_node_id": DRAINED})
    why = _change("alice", "kernel update is done", "CHG-1043")
    yield UpdateNode(DRAINED, 2, why, status=NodeStatus.ACTIVE)


def _hot_shards(telling: _Telling) -> Iterator[Command]:
    """More load than its share: the bound is set, and is kept once a plan has been applied."""
    hot = telling.owned_by(BUSY, "telemetry")[:8]
    why = _change("bob", "ingest of the Dublin sensors doubled", "CHG-1050")
    yield telling.update(hot, why, lambda _: {"capacity_hint": 4.0})
    why = _change("bob", "no node of telemetry shall take over 115 % of its share", "CHG-1051")
    strategy, parameters = NAMESPACES["telemetry"]
    bound = {**parameters, "maxLoadPercent": 115, "loadBy": "capacity"}
    yield ConfigureNamespace("telemetry", strategy, bound, 1, why)


def _incident(telling: _Telling) -> Iterator[Command]:
    stuck = telling.owned_by("node-ap-1", "sessions")[:3]
    why = _change("carol", "session store of ap-south lags, stop writes", "INC-77")
    yield telling.update(stuck, why, lambda _: {"status": ShardStatus.PAUSED})
    why = _change("carol", "lag is gone, resume", "INC-77")
    yield telling.update(stuck, why, lambda _: {"status": ShardStatus.ACTIVE})


def _mistake(telling: _Telling) -> Iterator[Command]:
    """Someone moves the wrong shard and puts it back: both stand in history."""
    (key,) = telling.owned_by("node-eu-2", "orders")[:1]
    yield telling.update(
        [key], _change("alice", "move to node-ap-2", "CHG-1060"), lambda _: {"owner_node_id": "node-ap-2"}
    )
    why = _change("alice", "wrong shard, moved back", "CHG-1060")
    yield telling.update([key], why, lambda _: {"owner_node_id": "node-eu-2"})


def _decommissioning(telling: _Telling, shards: Sequence[NewShard]) -> Iterator[Command]:
    retired = shards[-2:]
    expectations = [ShardExpectation(*shard.key, telling.versions[shard.key]) for shard in retired]
    yield DeleteShards(expectations, _change("bob", "sensors retired", "CHG-1071"))
    yield CreateShards(retired, _change("bob", "sensors retired too early, taken back", "CHG-1072"))


def _registered(node: Node, change: ChangeRequest) -> RegisterNode:
    return RegisterNode(node.node_id, change, node.region, node.zone, node.labels, node.weight)


def _change(actor: str, reason: str, ticket: str) -> ChangeRequest:
    return ChangeRequest(actor, reason, ticket)
