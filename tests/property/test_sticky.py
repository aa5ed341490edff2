"""`sticky`: what has an owner stays, what has to move is as little as can be, and moving once is enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.bounded import NOWHERE
from strategies.bounds import load_bounds
from strategies.model import Infeasible, Node, Owners, Shard, Shards
from strategies.placing import Placer
from strategies.registry import Registry
from strategies.sticky import Present
from tests.support.length import rounds

thorough: Final = settings(max_examples=rounds(2_000, 250), derandomize=True, deadline=None)
seeds: Final = st.integers(0, 2**32)


@dataclass(frozen=True, slots=True)
class Table:
    """Shards on nodes, of which some have left, and how many shards stay on each whatever is asked."""

    placer: Placer
    shards: Shards
    present: Owners
    staying: dict[str, list[float]]

    @property
    def total(self) -> int:
        return len(self.shards) + sum(map(len, self.staying.values()))

    @property
    def have(self) -> list[int]:
        return self.counts(self.present)

    def counts(self, owners: Owners) -> list[int]:
        own = Counter(owners.tolist())
        nodes = enumerate(self.placer.nodes)
        return [own[index] + len(self.staying.get(node.node_id, ())) for index, node in nodes]

    def settled(self, threshold: int | None = None, present: Owners | None = None) -> Owners:
        owners = self.present if present is None else present
        return self.placer.owners(self.shards, self.staying, Present(owners, threshold))


def drawn_table(drawn: Random, parameters: dict[str, Any], *, pins: bool = False) -> Table:
    """Lopsided: some nodes have joined, others left, and most shards are on a few."""
    nodes = [Node(f"n{number}", drawn.choice([1, 1, 2, 5])) for number in range(drawn.randrange(1, 8))]
    count = drawn.randrange(1, 80)
    weights = [drawn.choice([0, 1, 1, 7]) for _ in nodes] + [1]
    owners = drawn.choices([*range(len(nodes)), NOWHERE], weights, k=count)
    rows = [Shard(f"s{number}", drawn.choice([0.0, 0.5, 1.0, 9.0])) for number in range(count)]
    staying = {node.node_id: [1.0] * drawn.randrange(0, 9) for node in nodes if pins and drawn.random() < 0.5}
    placer = Registry().placer("sticky", parameters, nodes)
    return Table(placer, Shards.of("orders", rows), np.array(owners, np.int32), staying)


def moved(table: Table, owners: Owners) -> int:
    return int((owners != table.present).sum())


@given(seeds)
@thorough
def test_without_bounds_nothing_moves_but_what_has_no_owner(seed: int) -> None:
    table = drawn_table(Random(seed), {}, pins=True)
    rendezvous = Registry().placer("rendezvous", {}, table.placer.nodes).owners(table.shards)
    expected = np.where(table.present == NOWHERE, rendezvous, table.present)
    assert table.settled().tolist() == expected.tolist()


@given(seeds)
@thorough
def test_bounds_are_kept_with_the_fewest_moves_and_once_is_enough(seed: int) -> None:
    drawn = Random(seed)
    parameters: dict[str, Any] = {"maxLoadPercent": drawn.choice([100, 110, 150, None])}
    parameters["maxShardsPerNode"] = drawn.choice([None, 20, 40])
    table = drawn_table(drawn, parameters, pins=drawn.random() < 0.5)
    bounds = load_bounds(table.total, table.placer.nodes, parameters["maxLoadPercent"] or 1_000_000)
    most = [min(bound, parameters["maxShardsPerNode"] or bound) for bound in bounds]
    stay = [len(table.staying.get(node.node_id, ())) for node in table.placer.nodes]
    try:
        owners = table.settled()
    except Infeasible:
        assert sum(map(max, zip(most, stay, strict=True))) < table.total
        return
    counts = table.counts(owners)
    assert all(count <= max(limit, own) for count, limit, own in zip(counts, most, stay, strict=True))
    above = sum(max(0, own - max(limit, held)) for own, limit, held in zip(table.have, most, stay, strict=True))
    assert moved(table, owners) == above + int((table.present == NOWHERE).sum())
    assert table.settled(present=owners).tolist() == owners.tolist()


@given(seeds)
@thorough
def test_bounds_by_capacity_are_kept_and_once_is_enough(seed: int) -> None:
    drawn = Random(seed)
    table = drawn_table(drawn, {"maxLoadPercent": drawn.choice([100, 120]), "loadBy": "capacity"})
    owners = table.settled()
    held: dict[str, list[float]] = {node.node_id: [] for node in table.placer.nodes}
    for capacity, owner in zip(table.shards.capacities.tolist(), owners.tolist(), strict=True):
        held[table.placer.nodes[owner].node_id].append(capacity)
    assert table.placer.exceeded(held) == ()
    assert table.settled(present=owners).tolist() == owners.tolist()


@given(seeds)
@thorough
def test_loads_are_within_the_threshold_after_the_fewest_moves_and_once_is_enough(seed: int) -> None:
    drawn = Random(seed)
    table = drawn_table(drawn, {})
    threshold = drawn.choice([0, 1, 5, 10, 33, 100])
    nodes, total = table.placer.nodes, table.total
    whole = 100 * sum(node.weight for node in nodes)
    most = load_bounds(total, nodes, 100 + threshold)
    least = [total * node.weight * (100 - threshold) // whole for node in nodes]
    owners = table.settled(threshold)
    counts = table.counts(owners)
    assert all(low <= count <= high for low, count, high in zip(least, counts, most, strict=True))
    homeless = int((table.present == NOWHERE).sum())
    too_many = sum(max(0, own - high) for own, high in zip(table.have, most, strict=True))
    too_few = sum(max(0, low - own) for own, low in zip(table.have, least, strict=True))
    assert moved(table, owners) == max(homeless + too_many, too_few)
    assert table.settled(threshold, owners).tolist() == owners.tolist()


@given(seeds)
@thorough
def test_a_threshold_passes_no_bound_and_moves_nothing_that_stays(seed: int) -> None:
    drawn = Random(seed)
    limit = drawn.choice([15, 30])
    table = drawn_table(drawn, {"maxShardsPerNode": limit, "maxLoadPercent": 120}, pins=True)
    bounds = [min(limit, bound) for bound in load_bounds(table.total, table.placer.nodes, 120)]
    stay = [len(table.staying.get(node.node_id, ())) for node in table.placer.nodes]
    room = sum(map(max, zip(bounds, stay, strict=True)))
    try:
        owners = table.settled(drawn.choice([0, 10, 50]))
    except Infeasible:
        assert room < table.total
        return
    assert NOWHERE not in owners
    counts = table.counts(owners)
    assert all(count <= max(bound, own) for count, bound, own in zip(counts, bounds, stay, strict=True))


@given(seeds)
@thorough
def test_order_means_nothing(seed: int) -> None:
    drawn = Random(seed)
    bounded: dict[str, Any] = {"maxLoadPercent": 110}
    parameters: dict[str, Any] = drawn.choice([{}, bounded, {**bounded, "loadBy": "capacity"}])
    threshold = drawn.choice([None, 10])
    table = drawn_table(drawn, parameters)
    order = drawn.sample(range(len(table.shards)), len(table.shards))
    nodes = drawn.sample(table.placer.nodes, len(table.placer.nodes))
    backwards = Registry().placer("sticky", parameters, nodes)
    rows = shards_at(table.shards, order)
    again = backwards.owners(rows, present=Present(table.present[order], threshold))
    assert again.tolist() == table.settled(threshold)[order].tolist()


def shards_at(shards: Shards, order: Sequence[int]) -> Shards:
    return Shards.of(shards.namespace, [Shard(shards.ids[at], float(shards.capacities[at])) for at in order])
