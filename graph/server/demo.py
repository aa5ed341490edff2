"""The demo mesh: three namespaces on six nodes, and a history of changes to it. The same on every load.

region      nodes
eu-west     node-eu-1, node-eu-2; later node-eu-3
us-east     node-us-1, node-us-2
ap-south    node-ap-1, node-ap-2

Every shard but one begins where its strategy places it. The story is a pure function of that table: each command
expects the versions that the ones before it result in. It ends with a node that owns no shard yet, for planRebalance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from persistence.commands.command import ChangeRequest, Command
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.nodes import DrainNode, RegisterNode, UpdateNode
from persistence.commands.shards import CreateShards, DeleteShards, NewShard, ShardExpectation, ShardPatch, UpdateShards
from persistence.model.outcomes import Committed
from persistence.model.paging import PageRequest
from persistence.model.policy import NamespacePolicy
from persistence.model.queries import ChangeFilter
from persistence.model.records import NodeStatus, ShardKey, ShardStatus
from persistence.ports.store import Store
from persistence.service.executor import CommandExecutor
from strategies.model import Node, Shard
from strategies.registry import Registry

SHARDS_EACH: Final = 512

NAMESPACES: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "orders": ("ring", {"virtualNodes": 256}),
    "sessions": ("rendezvous", {}),
    "telemetry": ("locality", {"mode": "prefer"}),
}

POLICY: Final = NamespacePolicy(move_budget_percent=25, owners_must_be_registered=True)
"""Enough to vacate a node in one change: each has some 17 % of the shards."""

BY_HAND: Final = {"orders-007": "node-us-1"}
"""Near its customer, and not where its strategy places it: explainShard shows that, and a plan would move it back."""

_REGIONS: Final = {"eu": "eu-west", "us": "us-east", "ap": "ap-south"}


def _node(region_code: str, number: int) -> Node:
    region = _REGIONS[region_code]
    return Node(f"node-{region_code}-{number}", 1, region, f"{region}-{number}", {"disk": "ssd"})


NODES: Final = tuple(_node(code, number) for code in _REGIONS for number in (1, 2))

NEWCOMER: Final = _node("eu", 3)

DRAINED: Final = "node-us-2"

NEIGHBOUR: Final = "node-us-1"

BUSY: Final = "node-eu-1"


async def load_demo(store: Store, writer: CommandExecutor, progress: Callable[[str], None]) -> bool:
    """Carry out the story in an empty store, or what of it is missing. False if the store holds something else.

    Every command carries an idempotency key, so what was committed by an earlier load is answered, not done again.
    """
    oldest = await store.changes.page(ChangeFilter(), PageRequest(1), newest_first=False)
    if oldest.items and oldest.items[0].actor != "demo":
        return False
    if await store.nodes.get(NEWCOMER.node_id, shards_counted=False) is not None:
        return True  # the story has ended, perhaps as an earlier release tells it
    commands = list(story(demo_shards()))
    for number, command in enumerate(commands, 1):
        progress("Loading the demo mesh")
        keyed = replace(command, change=replace(command.change, idempotency_key=f"demo-3-{number}"))  # type: ignore[type-var]  # every command is a dataclass
        outcome = await writer.execute(keyed)
        if not isinstance(outcome, Committed):
            # The demo was changed between a load that was cut short and this one; that change is left as it is.
            progress(f"The demo mesh was changed meanwhile; it stays as it is ({type(outcome).__name__})")
            return True
    return True


def demo_shards() -> Sequence[NewShard]:
    """The ownership table that the story begins with."""
    return [shard for name in NAMESPACES for shard in _placed(name)]


def _placed(namespace: str) -> Iterator[NewShard]:
    """A namespace's shards, each with its best node as owner and the best of the others as leader."""
    placer = Registry().placer(*NAMESPACES[namespace], NODES)
    regions = tuple(_REGIONS.values())
    for number in range(SHARDS_EACH):
        hint = regions[number % len(regions)] if namespace == "telemetry" else None
        shard = Shard(f"{namespace}-{number:03}", locality_hint=hint)
        ranked = placer.rank(namespace, shard)
        owner = BY_HAND.get(shard.shard_id, ranked[0])
        leader = next(node_id for node_id in ranked if node_id != owner)
        yield NewShard(namespace, shard.shard_id, owner, leader, locality_hint=hint)


@dataclass
class _Table:
    """The ownership table as the story goes on: owners and versions."""

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
    table = _Table({shard.key: shard.owner_node_id for shard in shards})
    yield from _founding(table, shards)
    yield from _maintenance(table)
    yield from _hot_shards(table)
    yield from _incident(table)
    yield from _mistake(table)
    yield from _decommissioning(table, shards)
    yield _registered(NEWCOMER, _change("carol", f"{NEWCOMER.node_id} is racked, to help {BUSY}", "CHG-1090"))


def _founding(table: _Table, shards: Sequence[NewShard]) -> Iterator[Command]:
    for node in NODES:
        yield _registered(node, _change("demo", f"{node.node_id} is racked", "CHG-1000"))
    for name, (strategy, parameters) in NAMESPACES.items():
        change = _change("demo", f"found the namespace {name}", "CHG-1001")
        yield ConfigureNamespace(name, strategy, parameters, 0, change, POLICY)
        own = [shard for shard in shards if shard.namespace == name]
        table.versions |= {shard.key: 1 for shard in own}
        yield CreateShards(own, _change("demo", f"place the {len(own)} shards of {name}", "CHG-1001"))


def _maintenance(table: _Table) -> Iterator[Command]:
    """A node is drained for a kernel update and gets its shards back afterwards."""
    yield DrainNode(DRAINED, 1, _change("alice", "kernel update", "CHG-1042"))
    for namespace in ("orders", "sessions"):
        keys = table.owned_by(DRAINED, namespace)
        why = _change("alice", f"drain {DRAINED} for the kernel update", "CHG-1042")
        yield table.update(keys, why, lambda _: {"status": ShardStatus.DRAINING})
        why = _change("rebalancer", f"vacate {DRAINED}", "CHG-1042")
        yield table.update(keys, why, lambda _: {"owner_node_id": NEIGHBOUR, "status": ShardStatus.ACTIVE})
        why = _change("rebalancer", f"{DRAINED} is back, return its shards", "CHG-1043")
        yield table.update(keys, why, lambda _: {"owner_node_id": DRAINED})
    why = _change("alice", "kernel update is done", "CHG-1043")
    yield UpdateNode(DRAINED, 2, why, status=NodeStatus.ACTIVE)


def _hot_shards(table: _Table) -> Iterator[Command]:
    """More load than its share: the bound is set, and is met once a plan has been applied."""
    hot = table.owned_by(BUSY, "telemetry")[:8]
    why = _change("bob", "ingest of the Dublin sensors doubled", "CHG-1050")
    yield table.update(hot, why, lambda _: {"capacity_hint": 4.0})
    why = _change("bob", "no node of telemetry shall take over 115 % of its share", "CHG-1051")
    strategy, parameters = NAMESPACES["telemetry"]
    bound = {**parameters, "maxLoadPercent": 115, "loadBy": "capacity"}
    yield ConfigureNamespace("telemetry", strategy, bound, 1, why)


def _incident(table: _Table) -> Iterator[Command]:
    stuck = table.owned_by("node-ap-1", "sessions")[:3]
    why = _change("carol", "session store of ap-south lags, stop writes", "INC-77")
    yield table.update(stuck, why, lambda _: {"status": ShardStatus.PAUSED})
    why = _change("carol", "lag is gone, resume", "INC-77")
    yield table.update(stuck, why, lambda _: {"status": ShardStatus.ACTIVE})


def _mistake(table: _Table) -> Iterator[Command]:
    """The wrong shard is moved, then moved back: history has both."""
    (key,) = table.owned_by("node-eu-2", "orders")[:1]
    yield table.update(
        [key], _change("alice", "move to node-ap-2", "CHG-1060"), lambda _: {"owner_node_id": "node-ap-2"}
    )
    why = _change("alice", "wrong shard, moved back", "CHG-1060")
    yield table.update([key], why, lambda _: {"owner_node_id": "node-eu-2"})


def _decommissioning(table: _Table, shards: Sequence[NewShard]) -> Iterator[Command]:
    retired = shards[-2:]
    expectations = [ShardExpectation(*shard.key, table.versions[shard.key]) for shard in retired]
    yield DeleteShards(expectations, _change("bob", "sensors retired", "CHG-1071"))
    yield CreateShards(retired, _change("bob", "sensors retired too early, taken back", "CHG-1072"))


def _registered(node: Node, change: ChangeRequest) -> RegisterNode:
    return RegisterNode(node.node_id, change, node.region, node.zone, node.labels, node.weight)


def _change(actor: str, reason: str, ticket: str) -> ChangeRequest:
    return ChangeRequest(actor, reason, ticket)
