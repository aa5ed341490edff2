"""What the plots of docs/strategies.md show: loads and moves on fixed ids, the same in every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from strategies.model import Node, Shard, Shards
from strategies.registry import Registry
from tests.benchmarks.side_by_side import Moves

NAMESPACE: Final = "plots"
SHARDS: Final = 100_000
LOAD_NODES: Final = 100
RING_NODES: Final = 50
RINGS: Final = 8
MOVE_NODES: Final = 50
MOVE_WEIGHT: Final = 4
ZONES: Final = 5


@dataclass(frozen=True)
class Configuration:
    label: str
    strategy: str
    given: Mapping[str, Any] = field(default_factory=dict)
    hinted: bool = False


LOADS: Final = (
    Configuration("rendezvous", "rendezvous"),
    Configuration("jump", "jump"),
    Configuration("maglev", "maglev"),
    Configuration("ring, 40 points", "ring", {"virtualNodes": 40}),
    Configuration("ring, 160 points", "ring"),
    Configuration("ring, 1,024 points", "ring", {"virtualNodes": 1024}),
    Configuration("ring, 160 points,\nmaxLoadPercent 110", "ring", {"maxLoadPercent": 110}),
)
MOVES: Final = (
    Configuration("rendezvous", "rendezvous"),
    Configuration("ring", "ring"),
    Configuration("locality,\nall shards with hints", "locality", hinted=True),
    Configuration("maglev", "maglev"),
    Configuration("jump", "jump"),
    Configuration("rendezvous,\nmaxLoadPercent 102", "rendezvous", {"maxLoadPercent": 102}),
    Configuration("ring,\nmaxLoadPercent 105", "ring", {"maxLoadPercent": 105}),
)


def loads() -> dict[str, NDArray[np.float64]]:
    """Of each configuration: the shards of each node, in per cent of the mean."""
    shards = Shards.named(NAMESPACE, _ids())
    nodes = [Node(f"node-{at}") for at in range(LOAD_NODES)]
    return {each.label: _counts(each, shards, nodes) / (SHARDS / LOAD_NODES) * 100 for each in LOADS}


def ring_deviations(points: Sequence[int]) -> list[float]:
    """The coefficient of variation of rings with so many points a node, over several rings."""
    shards = Shards.named(NAMESPACE, _ids())
    found = []
    for count in points:
        each = Configuration("", "ring", {"virtualNodes": count})
        rings = [[Node(f"{ring}-{at}") for at in range(RING_NODES)] for ring in range(RINGS)]
        counts = [_counts(each, shards, nodes) for nodes in rings]
        found.append(sqrt(sum(float(np.var(row) / np.mean(row) ** 2) for row in counts) / RINGS))
    return found


def ring_theory(points: float) -> float:
    return sqrt(1 / points + RING_NODES / SHARDS)


def moves() -> dict[str, dict[str, Moves]]:
    """Of each event and each configuration, what moved."""
    nodes = [_node(at) for at in range(MOVE_NODES)]
    middle, last = MOVE_NODES // 2, MOVE_NODES
    events = {
        f"node-{last} joins": ([*nodes, _node(last)], f"node-{last}"),
        f"node-{middle} leaves": ([*nodes[:middle], *nodes[middle + 1 :]], f"node-{middle}"),
        f"node-{middle} gets\ntwice its weight": (
            [replace(node, weight=2 * MOVE_WEIGHT) if at == middle else node for at, node in enumerate(nodes)],
            f"node-{middle}",
        ),
    }
    plain = Shards.named(NAMESPACE, _ids())
    hinted = Shards.of(
        NAMESPACE, [Shard(id_, locality_hint=f"region-{at % 2}/zone-{at % ZONES}") for at, id_ in enumerate(_ids())]
    )
    result: dict[str, dict[str, Moves]] = {event: {} for event in events}
    for each in MOVES:
        shards = hinted if each.hinted else plain
        before = _owner_ids(each, shards, nodes)
        for event, (after, changed) in events.items():
            result[event][each.label] = Moves.between(before, _owner_ids(each, shards, after), changed)
    return result


def _node(at: int) -> Node:
    return Node(f"node-{at}", MOVE_WEIGHT, f"region-{at % 2}", f"zone-{at % ZONES}")


def _ids() -> list[str]:
    return [f"shard-{number}" for number in range(SHARDS)]


def _owner_ids(each: Configuration, shards: Shards, nodes: Sequence[Node]) -> NDArray[np.str_]:
    placer = Registry().placer(each.strategy, each.given, nodes)
    named: NDArray[np.str_] = np.array([node.node_id for node in placer.nodes])[placer.owners(shards)]
    return named


def _counts(each: Configuration, shards: Shards, nodes: Sequence[Node]) -> NDArray[np.intp]:
    placer = Registry().placer(each.strategy, each.given, nodes)
    return np.bincount(placer.owners(shards), minlength=len(nodes))
