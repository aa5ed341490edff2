"""How far shares and moves are from what weights say, in standard deviations. All on fixed ids: nothing varies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt
from typing import Any, Final

import numpy as np

from strategies.hints import read_hint
from strategies.jump import Jump
from strategies.locality import Locality
from strategies.model import Node, Shards, Strategy
from strategies.rendezvous import Rendezvous
from strategies.ring import Ring
from tests.benchmarks.contenders import Names, prepare
from tests.benchmarks.report import Report

SIGMAS: Final = 5.0
SEEDS: Final = ("first", "second", "third")
"""Namespaces: they go into the keys, so each is another million of keys."""

WEIGHTS: Final[Mapping[str, Sequence[int]]] = {
    "weights 1:4": [1, 4],
    "weights 1:1:1:10": [1, 1, 1, 10],
    "200 nodes, weights 1 to 53": [1 + at * at % 53 for at in range(200)],
}
RING_ROUNDS: Final = 8
RING_SLACK: Final = 1.15


def measure(report: Report, ids: Sequence[str]) -> None:
    spaces = [Shards.named(seed, ids) for seed in SEEDS]
    for strategy in (Rendezvous(), Jump()):
        for what, weights in WEIGHTS.items():
            worst = max(_shares(strategy, weights, shards) for shards in spaces)
            _sigmas(report, f"{strategy.name}, {what}: shares", worst)
    for what, weights in WEIGHTS.items():
        worst = max(_moved(weights, added, shards) for added in (1, 7, 40) for shards in spaces)
        _sigmas(report, f"rendezvous, {what}: moved when a node joins", worst)
    for hint, local in (("eu", {"eu/eu-1": 16, "eu/eu-2": 16}), ("eu/eu-1", {"eu/eu-1": 64, "eu/eu-2": 16})):
        worst = max(_local(hint, local, shards) for shards in spaces)
        _sigmas(report, f"locality, hint {hint}: shards of each zone", worst)
    _ring(report, spaces[0], nodes=50, points=160)


def _sigmas(report: Report, what: str, worst: float) -> None:
    figure = f"largest |z| {worst:.2f} in {len(SEEDS)} namespaces"
    report.add(what, figure, f"limit {SIGMAS:.0f} sigma", worst / SIGMAS, "lower")


def _shares(strategy: Strategy, weights: Sequence[int], shards: Shards) -> float:
    nodes = nodes_of(weights)
    owners = owner_ids(strategy, nodes, shards)
    return max(_z(owners == node.node_id, node.weight / sum(weights)) for node in nodes)


def _moved(weights: Sequence[int], weight: int, shards: Shards) -> float:
    nodes = nodes_of(weights)
    before = owner_ids(Rendezvous(), nodes, shards)
    after = owner_ids(Rendezvous(), [*nodes, Node("node-added", weight)], shards)
    moved = before != after
    if (after[moved] != "node-added").any():
        raise RuntimeError("a shard moved between two nodes that had been there before")
    return _z(moved, weight / (sum(weights) + weight))


def _local(hint: str, boosts: Mapping[str, int], shards: Shards) -> float:
    """Shards of a zone against its effective weight over that of all nodes. 40 nodes in four places."""
    places = [("eu", "eu-1"), ("eu", "eu-2"), ("us", "us-1"), (None, None)]
    nodes = [Node(f"node-{at}", 1 + at % 5, *places[at % 4]) for at in range(40)]
    hinted = replace(shards, hint_table=[read_hint(hint)])
    owners = owner_ids(Locality(), nodes, hinted)
    effective = {node.node_id: node.weight * boosts.get(f"{node.region}/{node.zone}", 1) for node in nodes}
    zones: dict[str | None, list[str]] = {}
    for node in nodes:
        zones.setdefault(node.zone, []).append(node.node_id)
    total = sum(effective.values())
    return max(
        _z(np.isin(owners, zone), sum(effective[node_id] for node_id in zone) / total) for zone in zones.values()
    )


def _ring(report: Report, shards: Shards, *, nodes: int, points: int) -> None:
    squares = []
    for number in range(RING_ROUNDS):
        ring = prepare(Ring(), [Node(f"{number}-{at}") for at in range(nodes)], virtualNodes=points)
        counts = np.bincount(ring.assign(shards), minlength=nodes)
        squares.append(float(np.var(counts) / np.mean(counts) ** 2))
    found, limit = sqrt(sum(squares) / len(squares)), RING_SLACK * sqrt(1 / points + nodes / len(shards))
    what = f"ring, {nodes} nodes of {points} points: coefficient of variation"
    report.add(what, f"{found:.4f} over {RING_ROUNDS} rings", f"limit {limit:.4f}", found / limit, "lower")


def nodes_of(weights: Sequence[int]) -> list[Node]:
    return [Node(f"node-{at}", weight) for at, weight in enumerate(weights)]


def owner_ids(strategy: Strategy, nodes: Sequence[Node], shards: Shards) -> Names:
    placement = prepare(strategy, nodes)
    named: Names = np.array([node.node_id for node in placement.nodes])[placement.assign(shards)]
    return named


def _z(chosen: Any, share: float) -> float:
    """Standard deviations between how many were chosen and `share` of them."""
    total = len(chosen)
    return float(abs(np.count_nonzero(chosen) - share * total) / sqrt(total * share * (1 - share)))
