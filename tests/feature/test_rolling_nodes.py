"""Three namespaces, one per strategy, while nodes join, drain, change weight and leave and clients go on reading.

After every step GraphQL, the CLI and `mesh shards diff` must show the same owners, those must be the owners the
strategy library names, and no shard may have moved between two nodes that stayed as they were.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pytest

from strategies.model import Node, Shard, Shards
from strategies.registry import Registry
from tests.support.real_server import RealServer, real_server

NAMESPACES: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "carts": ("rendezvous", {}),
    "orders": ("ring", {"virtualNodes": 40}),
    "sessions": ("locality", {"mode": "prefer", "zoneBoost": 32}),
}
HINTS: Final = (None, "eu", "us/us-1", "zone:eu-2", "region:us")
SHARDS: Final = {
    name: [Shard(f"s-{number:03}", 1.0, HINTS[number % len(HINTS)]) for number in range(300)] for name in NAMESPACES
}
Owners = dict[tuple[str, str], str]

LOOKUP: Final = "query($n:String!,$k:String!){shard(namespace:$n,shardId:$k){ownerNodeId version ownerEpoch}}"


@dataclass
class Mesh:
    """What the test believes the nodes to be; `active` are those that may own shards."""

    server: RealServer
    active: dict[str, Node] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)

    def join(self, node: Node) -> set[str]:
        given = {"nodeId": node.node_id, "weight": node.weight, "region": node.region, "zone": node.zone}
        self._changed(self.server.change("RegisterNode", "NodeChanged", **given))
        self.active[node.node_id] = node
        return {node.node_id}

    def reweigh(self, node_id: str, weight: int) -> set[str]:
        self._update(node_id, weight=weight)
        self.active[node_id] = replace(self.active[node_id], weight=weight)
        return {node_id}

    def drain(self, node_id: str) -> set[str]:
        self.server.command("nodes", "drain", node_id, "--reason", "maintenance", "--actor", "ops")
        self.versions[node_id] += 1
        del self.active[node_id]
        return {node_id}

    def lose(self, node_id: str) -> set[str]:
        self._update(node_id, status="DOWN")
        del self.active[node_id]
        return {node_id}

    def leave(self, node_id: str) -> set[str]:
        """A drained node that owns nothing any more."""
        self._update(node_id, status="REMOVED")
        return {node_id}

    def _update(self, node_id: str, **patch: Any) -> None:
        expected = str(self.versions[node_id])
        self._changed(
            self.server.change("UpdateNode", "NodeChanged", nodeId=node_id, expectedVersion=expected, **patch)
        )

    def _changed(self, answer: dict[str, Any]) -> None:
        self.versions[answer["node"]["nodeId"]] = int(answer["node"]["version"])

    def rebalance(self) -> int:
        """Plan and apply everything; how many shards moved."""
        plan = self.server.change("PlanRebalance", "PlanProposed")["plan"]
        assert plan["proposal"]["remainingMoves"] == 0
        if plan["moveCount"]:
            applied = self.server.change("ApplyPlan", "PlanApplied", planId=plan["id"])
            assert applied["change"]["rebalance"]["moved"] == plan["moveCount"]
        return int(plan["moveCount"])

    def expected(self) -> Owners:
        """From the library alone."""
        owners: Owners = {}
        for name, (strategy, parameters) in NAMESPACES.items():
            placer = Registry().placer(strategy, parameters, list(self.active.values()))
            places = placer.owners(Shards.of(name, SHARDS[name]))
            for shard, place in zip(SHARDS[name], places, strict=True):
                owners[name, shard.shard_id] = placer.nodes[place].node_id
        return owners


def through_graphql(server: RealServer) -> Owners:
    owners: Owners = {}
    after = None
    while True:
        page = server.ask("ExportShards", first=500, after=after)
        owners |= {(shard["namespace"], shard["shardId"]): shard["ownerNodeId"] for shard in page["nodes"]}
        if not page["pageInfo"]["hasNextPage"]:
            return owners
        after = page["pageInfo"]["endCursor"]


def through_the_cli(server: RealServer) -> Owners:
    document = server.command("shards", "list", "--json").document
    return {(shard["namespace"], shard["shardId"]): shard["ownerNodeId"] for shard in document["shards"]}


def moved_by_diff(server: RealServer, start: int) -> dict[tuple[str, str], tuple[str, str]]:
    """Shards that `mesh shards diff` shows as moved since, with their owners before and after."""
    diffs = server.command("shards", "diff", start, "--json").document["diffs"]
    pairs = {
        (diff["namespace"], diff["shardId"]): (diff["previous"]["ownerNodeId"], diff["current"]["ownerNodeId"])
        for diff in diffs
    }
    return {key: (before, after) for key, (before, after) in pairs.items() if before != after}


@contextmanager
def clients_reading(server: RealServer) -> Iterator[None]:
    """Lookups without a pause: each must be answered, and no shard's version or epoch may ever go back."""
    stop = threading.Event()

    def read(worker: int) -> int:
        seen: dict[tuple[str, str], tuple[int, int]] = {}
        count = 0
        while not stop.is_set() or count < 50:
            name = list(NAMESPACES)[count % 3]
            key = name, f"s-{(count * 7 + worker) % 300:03}"
            shard = server.query(LOOKUP, n=key[0], k=key[1])
            now = int(shard["version"]), int(shard["ownerEpoch"])
            assert now >= seen.get(key, (0, 0)), key
            seen[key] = now
            count += 1
        return count

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read, worker) for worker in range(2)]
        try:
            yield
        finally:
            stop.set()
        assert all(reader.result() >= 50 for reader in readers)


@pytest.fixture
def mesh(database_url: str) -> Iterator[Mesh]:
    """Every shard begins on a node that is not registered, and is placed by the first plan."""
    with real_server(database_url, environment={"OMNIRELAY_PLAN_PROCESSES": "2"}) as server:
        mesh = Mesh(server)
        for number in range(1, 7):
            region = "eu" if number % 2 else "us"
            mesh.join(Node(f"n{number}", 1 + number % 3, region, f"{region}-{1 + number % 2}"))
        for name, (strategy, parameters) in NAMESPACES.items():
            server.change(
                "ConfigureNamespace",
                "NamespaceConfigured",
                name=name,
                strategy=strategy,
                strategyParameters=parameters,
                policy={"moveBudgetPercent": 100},
                expectedVersion="0",
            )
            shards = [
                {"namespace": name, "shardId": shard.shard_id, "ownerNodeId": "n0", "localityHint": shard.locality_hint}
                for shard in SHARDS[name]
            ]
            server.change("CreateShards", "ShardsChanged", shards=shards)
        assert mesh.rebalance() == 900
        yield mesh


def test_every_view_agrees_with_the_library_while_nodes_come_and_go(mesh: Mesh) -> None:
    server = mesh.server
    steps: list[tuple[str, Callable[[], set[str]], bool]] = [
        ("a node joins", lambda: mesh.join(Node("n7", 2, "eu", "eu-2")), True),
        ("a node is made heavier", lambda: mesh.reweigh("n2", 6), True),
        ("a node is drained", lambda: mesh.drain("n3"), True),
        ("the drained node leaves", lambda: mesh.leave("n3"), False),
        ("a node is made lighter", lambda: mesh.reweigh("n2", 1), True),
        ("a node is lost", lambda: mesh.lose("n5"), True),
        ("two nodes join at once", lambda: mesh.join(Node("n8", 1, "us", "us-1")) | mesh.join(Node("n9", 3)), True),
    ]
    owners = through_graphql(server)
    assert owners == mesh.expected()
    with clients_reading(server):
        for what, step, moves_something in steps:
            start = server.ask("StreamHead")["revision"]
            changed = step()
            moved = mesh.rebalance()
            before, owners = owners, through_graphql(server)
            difference = {key: (before[key], owner) for key, owner in owners.items() if before[key] != owner}
            assert owners == mesh.expected(), what
            assert owners == through_the_cli(server), what
            assert difference == moved_by_diff(server, start), what
            assert len(difference) == moved, what
            assert (moved > 0) is moves_something, what
            assert all(changed & set(pair) for pair in difference.values()), what
    history = server.ask("ShardHistory", filter={"moveReasons": ["OWNER_DRAINING"]}, first=500)
    assert {row["previous"]["ownerNodeId"] for row in history["nodes"]} == {"n3"}
    reasons = {row["moveReason"] for row in server.ask("ShardHistory", first=500)["nodes"]}
    assert reasons <= {"PLACEMENT_CHANGED", "OWNER_DOWN", "OWNER_DRAINING"}
