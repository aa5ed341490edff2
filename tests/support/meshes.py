"""Random small meshes for property tests of placement.

A mesh is read from a few bytes, and shards are made once, because drawing each value by itself would take longer than
what is tested: thousands of meshes have to take seconds. Fewer and smaller bytes are a simpler mesh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any, Final

from hypothesis import note
from hypothesis import strategies as st

from strategies.model import Node, Placement, Shard, Shards, Strategy

NAMES: Final = [
    "7",
    "70",
    "Z",
    "a",
    "b-2",
    "b-10",
    "c.x:y_z",
    *(f"n{number}" for number in range(1, 15)),
    "n99",
    "n100",
]
"""In natural order."""

# 1 more often than the rest: equal weights are decided in a way of their own.
WEIGHTS: Final = [1, 1, 1, 2, 3, 7]
HEAVY_WEIGHTS: Final = [1, 1, 1, 2**10, 2**20 - 1, 2**20]
PLACES: Final = [("eu", "a"), ("eu", "b"), ("us", "a"), ("us", "c"), ("us", None), (None, "a"), (None, None)]
LABELS: Final[Sequence[Mapping[str, str]]] = [{}, {"disk": "ssd"}, {"disk": "hdd", "spot": "yes"}]
HINTS: Final = [None, "eu", "us/a", "eu/b", "zone:a", "region:us", "us/c", "zone:none", "nowhere"]
CAPACITIES: Final = [1.0, 1.0, 0.5, 3.0, 0.0, 1e-7, 40.25, 1e12]
POPULATIONS: Final = 256

PARAMETERS: Final[Mapping[str, Mapping[str, Sequence[Any]]]] = {
    "ring": {"virtualNodes": [1, 2, 5, 13]},
    "maglev": {"tableSize": [101, 103]},
    "locality": {
        "mode": ["prefer", "strict"],
        "regionBoost": [16, 1, 2, 1024],
        "zoneBoost": [64, 1, 3, 1024],
        "preferredLabels": ["", "disk=ssd", "!spot", "zone=a"],
        "labelBoost": [4, 1, 1024],
    },
}

MOST_NODES: Final = 12
MOST_CHANGES: Final = 3
BYTES: Final = 4 + 2 * (MOST_NODES + 2 * MOST_CHANGES)

meshes: Final = st.binary(min_size=BYTES, max_size=BYTES)


class Mesh:
    """A strategy, its parameters, nodes, one or two later states of the nodes, and shards."""

    def __init__(self, strategy: Strategy, drawn: bytes, shard_count: int, **parameters: object) -> None:
        self.strategy = strategy
        self.random = random = Random(drawn[:2])
        # A ring of heavy nodes would have more points than it may, and a jump's rank would draw in vain for light ones.
        light = strategy.name in {"ring", "jump"} or drawn[2] % 3 != 1
        self.weights = WEIGHTS if light else HEAVY_WEIGHTS
        chosen = {name: random.choice(values) for name, values in PARAMETERS.get(strategy.name, {}).items()}
        defaults = {name: rule.default for name, rule in strategy.parameters.items()}
        self.parameters: Mapping[str, Any] = {**defaults, **chosen, **parameters}
        self.rows, self.shards = population(drawn[0], shard_count)
        self.namespace = self.shards.namespace
        numbers = [drawn[at] + 256 * drawn[at + 1] for at in range(4, BYTES, 2)]
        listed = [self._node(number) for number in numbers[: 1 + drawn[3] % MOST_NODES]]
        self.nodes = {node.node_id: node for node in listed}
        first, second = numbers[MOST_NODES:][:MOST_CHANGES], numbers[MOST_NODES:][MOST_CHANGES:]
        once = self._changed(self.nodes, first[: 1 + drawn[3] // MOST_NODES % MOST_CHANGES])
        self.stages = [self.nodes, once, *[self._changed(once, second)] * (drawn[2] % 2)]
        note(self)

    def __repr__(self) -> str:
        return f"{self.strategy.name} {self.parameters} {self.stages} {self.namespace}"

    def _node(self, number: int) -> Node:
        rest, name = divmod(number, len(NAMES))
        rest, weight = divmod(rest, len(self.weights))
        rest, place = divmod(rest, len(PLACES))
        region, zone = PLACES[place]
        return Node(NAMES[name], self.weights[weight], region, zone, LABELS[rest % len(LABELS)])

    def _changed(self, nodes: Mapping[str, Node], changes: Sequence[int]) -> dict[str, Node]:
        """Each change adds or replaces a node, takes one away, or gives one another weight."""
        after = dict(nodes)
        for change in changes:
            number, kind = divmod(change, 3)
            target = sorted(after)[number % len(after)]
            if kind == 0:
                node = self._node(number)
                after[node.node_id] = node
            elif kind == 1 and len(after) > 1:
                del after[target]
            else:
                after[target] = replace(after[target], weight=self.weights[number // len(NAMES) % len(self.weights)])
        return after

    def prepare(self, nodes: Mapping[str, Node]) -> Placement:
        """With the nodes in any order."""
        return self.strategy.prepare(self.random.sample(list(nodes.values()), len(nodes)), self.parameters)

    def owners(self, placement: Placement) -> list[str]:
        return [placement.nodes[place].node_id for place in placement.assign(self.shards).tolist()]


@cache
def population(seed: int, count: int) -> tuple[Sequence[Shard], Shards]:
    """Shards with one or two different hints, one by one and in columns."""
    random = Random(seed)
    hints = random.choices(random.sample(HINTS, 1 + seed % 2), k=count)
    rows = [Shard(f"{random.getrandbits(40):x}", random.choice(CAPACITIES), hint) for hint in hints]
    return rows, Shards.of(f"space-{seed}", rows)
