"""Snapshots made by hand, where no store is needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from persistence.codec.encoding import EMPTY_DIGEST
from persistence.model.records import ChangeMark, Namespace, Node, NodeStatus, StreamPosition
from persistence.planning.snapshot import PlacedShard, PlacementSnapshot
from strategies.registry import Registry

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
STRATEGIES: Final = Registry()


def node(node_id: str, status: NodeStatus = NodeStatus.ACTIVE, **fields: Any) -> Node:
    known: dict[str, Any] = {
        "region": None,
        "zone": None,
        "labels": {},
        "weight": 1,
        "change_ticket": None,
        "version": 1,
    }
    return Node(node_id, status=status, shard_count=0, created_at=NOON, updated_at=NOON, **{**known, **fields})


def nodes(*node_ids: str) -> list[Node]:
    return [node(node_id) for node_id in node_ids]


def namespace(
    name: str = "billing", strategy: str = "rendezvous", parameters: Mapping[str, Any] | None = None, **fields: Any
) -> Namespace:
    """At the version of its strategy that there is, and with the digest of its parameters."""
    known = strategy in STRATEGIES
    given: dict[str, Any] = {
        "algorithm_version": STRATEGIES[strategy].algorithm_version if known else 1,
        "parameters_digest": STRATEGIES.digest(strategy, parameters or {}) if known else "0" * 64,
        "version": 1,
        "digest": EMPTY_DIGEST,
        "shard_count": 0,
        "revision": 7,
    }
    return Namespace(name, strategy, parameters or {}, created_at=NOON, updated_at=NOON, **{**given, **fields})


def shard(shard_id: str, owner: str = "node-a", **fields: Any) -> PlacedShard:
    known: dict[str, Any] = {
        "version": 1,
        "strategy": "rendezvous",
        "capacity_hint": 1.0,
        "locality_hint": None,
        "pinned": False,
    }
    return PlacedShard(shard_id, owner, **{**known, **fields})


def shards(count: int, owner: str = "node-a", **fields: Any) -> list[PlacedShard]:
    return [shard(f"s{number:04}", owner, **fields) for number in range(count)]


def snapshot(
    there: Sequence[Node],
    placed: Mapping[str, Sequence[PlacedShard]] | Sequence[PlacedShard],
    *spaces: Namespace,
) -> PlacementSnapshot:
    """As a reader makes it: ordered. Shards of one namespace need not name it, nor need that one be given."""
    by_name = placed if isinstance(placed, Mapping) else {"billing": placed}
    known = {space.name: space for space in spaces}
    return PlacementSnapshot(
        StreamPosition("epoch", 9, ChangeMark(9, b"the hash")),
        [known.get(name) or namespace(name) for name in sorted(by_name)],
        sorted(there, key=lambda one: one.node_id),
        {name: _ordered(by_name[name]) for name in sorted(by_name)},
    )


def _ordered(placed: Iterable[PlacedShard]) -> list[PlacedShard]:
    return sorted(placed, key=lambda one: one.shard_id)
