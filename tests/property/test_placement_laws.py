"""The exact laws of placement, for every strategy there is, over random nodes, shards, parameters and changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

import pytest
from hypothesis import given, settings

from strategies.hints import Hint, read_hint
from strategies.locality import Locality
from strategies.model import Infeasible, Movement, Node, Owners, Placement, Shard, Shards, Strategy
from strategies.placing import Placer
from strategies.registry import BUILT_IN, Registry
from tests.support import second_opinion
from tests.support.length import rounds
from tests.support.meshes import NAMES, Mesh, meshes

thorough: Final = settings(max_examples=rounds(2_000, 250), derandomize=True, deadline=None)
every_strategy: Final = pytest.mark.parametrize("strategy", BUILT_IN, ids=lambda strategy: strategy.name)
every_strategy_to_which_only_the_end_may_change: Final = pytest.mark.parametrize(
    "strategy", [one for one in BUILT_IN if one.movement is Movement.AT_THE_END], ids=lambda strategy: strategy.name
)


@every_strategy
@given(meshes)
@thorough
def test_all_forms_of_the_answer_agree_in_any_order_and_changes_move_only_what_they_may(
    strategy: Strategy, drawn: bytes
) -> None:
    """Several laws in one, because drawing a mesh takes as long as trying one of them."""
    mesh = Mesh(strategy, drawn, 40)
    placement = mesh.prepare(mesh.nodes)
    owners = placement.assign(mesh.shards)
    check_every_form(mesh, placement, owners)
    for before, after in pairwise(mesh.stages):
        placement, owners = check_change(mesh, before, placement, owners, after)


def check_every_form(mesh: Mesh, placement: Placement, owners: Owners) -> None:
    """`place`, the first of `rank` and `assign` agree, nodes and shards shuffled; a rank has every node once."""
    again = mesh.prepare(mesh.nodes)
    by_id = sorted(mesh.nodes)
    assert [node.node_id for node in placement.nodes] == [node.node_id for node in again.nodes] == by_id
    some = mesh.random.sample(range(len(mesh.rows)), 3)
    chosen = [mesh.rows[at] for at in some]
    assert again.assign(Shards.of(mesh.namespace, chosen)).tolist() == owners[some].tolist()
    for shard, owner in zip(chosen, owners[some].tolist(), strict=True):
        rank = list(placement.rank(mesh.namespace, shard))
        assert sorted(rank) == by_id
        assert rank[0] == placement.place(mesh.namespace, shard) == by_id[owner]
    assert rank == list(again.rank(mesh.namespace, chosen[-1]))


def check_change(
    mesh: Mesh, before: Mapping[str, Node], previous: Placement, owners: Owners, after: Mapping[str, Node]
) -> tuple[Placement, Owners]:
    """`reassign` is `assign`, and no shard moves that the strategy's `movement` would keep. To go on from there."""
    placement = mesh.prepare(after)
    sources = owners.tolist()
    reassigned = placement.reassign(mesh.shards, owners, previous)
    assert owners.tolist() == sources
    assert reassigned.dtype == owners.dtype
    assert reassigned.tolist() == placement.assign(mesh.shards).tolist()
    if mesh.strategy.movement is Movement.MINIMAL:
        gained, lost = gained_and_lost(mesh.strategy, before, after)
        for source, target in set(zip(sources, reassigned.tolist(), strict=True)):
            old, new = previous.nodes[source].node_id, placement.nodes[target].node_id
            assert old == new or old in lost or new in gained
    return placement, reassigned


def gained_and_lost(
    strategy: Strategy, before: Mapping[str, Node], after: Mapping[str, Node]
) -> tuple[set[str], set[str]]:
    """Added or heavier nodes, and removed or lighter ones. Who was relocated may have gained and may have lost."""
    gained, lost = set(after.keys() - before.keys()), set(before.keys() - after.keys())
    for name in before.keys() & after.keys():
        old, new = before[name], after[name]
        relocated = isinstance(strategy, Locality) and replace(old, weight=1) != replace(new, weight=1)
        if relocated or new.weight > old.weight:
            gained.add(name)
        if relocated or new.weight < old.weight:
            lost.add(name)
    return gained, lost


@every_strategy_to_which_only_the_end_may_change
@given(meshes)
@thorough
def test_a_change_to_the_last_node_moves_shards_only_to_it_or_only_from_it(strategy: Strategy, drawn: bytes) -> None:
    mesh = Mesh(strategy, drawn, 40)
    last = max(mesh.nodes, key=NAMES.index)
    less = {name: node for name, node in mesh.nodes.items() if name != last}
    weights = sorted([mesh.nodes[last].weight, mesh.random.choice(mesh.weights)])
    light, heavy = ({**less, last: replace(mesh.nodes[last], weight=weight)} for weight in weights)
    smaller = less if less and mesh.random.random() < 1 / 2 else light
    before, after = mesh.owners(mesh.prepare(smaller)), mesh.owners(mesh.prepare(heavy))
    assert all(target in {source, last} for source, target in zip(before, after, strict=True))


@given(meshes)
@thorough
def test_locality_ranks_by_the_weight_that_boosts_give_and_if_strict_keeps_to_the_place_while_any_node_is_there(
    drawn: bytes,
) -> None:
    mesh = Mesh(Locality(), drawn, 12)
    placement = mesh.prepare(mesh.nodes)
    for place, owner in enumerate(mesh.owners(placement)):
        hint = read_hint(mesh.rows[place].locality_hint)
        levels = {name: level(node, hint) for name, node in mesh.nodes.items()}
        if mesh.parameters["mode"] == "strict":
            assert levels[owner] == max(levels.values())
        if place < 2:
            weights = {name: effective_weight(node, hint, mesh.parameters) for name, node in mesh.nodes.items()}
            expected = list(second_opinion.weighted_rank(int(mesh.shards.keys[place]), weights))
            if mesh.parameters["mode"] == "strict":
                expected.sort(key=levels.__getitem__, reverse=True)
            assert list(placement.rank(mesh.namespace, mesh.rows[place])) == expected


def level(node: Node, hint: Hint) -> int:
    """2: of the zone that the hint names; 1: of the region; 0: neither."""
    in_region = hint.region in {None, node.region}
    return 2 if hint.zone and hint.zone == node.zone and in_region else int(hint.region is not None and in_region)


def effective_weight(node: Node, hint: Hint, parameters: Mapping[str, Any]) -> int:
    liked = {
        "": False,
        "disk=ssd": node.labels.get("disk") == "ssd",
        "!spot": "spot" not in node.labels,
        "zone=a": node.zone == "a",
    }[parameters["preferredLabels"]]
    boosts: Sequence[int] = (1, parameters["regionBoost"], parameters["zoneBoost"])
    label_boost: int = parameters["labelBoost"] if liked else 1
    return node.weight * boosts[level(node, hint)] * label_boost


@given(meshes)
@thorough
def test_bounds_are_kept_as_defined_and_every_shard_is_placed(drawn: bytes) -> None:
    mesh = Mesh(BUILT_IN[drawn[-1] % len(BUILT_IN)], drawn, drawn[-2] % 20)
    limits = {
        "selector": mesh.random.choice(["", "", "!spot"]),
        "maxLoadPercent": mesh.random.choice([None, 100, 101, 125, 300, 10_000]),
        "loadBy": mesh.random.choice(["count", "capacity"]),
        "maxShardsPerNode": mesh.random.choice([None, None, 1, 3, 7, 40]),
    }
    placer = placer_of(mesh, limits)
    if placer is None:
        return
    keyed = list(zip(mesh.shards.keys.tolist(), mesh.rows, strict=True))
    expected = second_opinion.bounded(placer.nodes, keyed, lambda row: placer.rank(mesh.namespace, row), limits)
    assert owners_or_none(placer, Shards.of(mesh.namespace, mesh.random.sample(mesh.rows, len(mesh.rows)))) == expected
    if expected is not None:
        assert len(expected) == len(mesh.rows)
        in_order = [row for _, row in sorted(keyed, key=lambda pair: pair[0])]
        check_bounds(placer.nodes, in_order, expected, limits)


def check_bounds(
    nodes: Sequence[Node], rows: Sequence[Shard], owners: Mapping[str, str], limits: Mapping[str, Any]
) -> None:
    """No node had reached its bound before its last shard came."""
    bounds = second_opinion.load_bounds(nodes, rows, limits)
    for node in nodes:
        own = [second_opinion.size(row, limits) for row in rows if owners[row.shard_id] == node.node_id]
        assert bounds is None or sum(own[:-1]) < bounds[node.node_id]
        assert limits["maxShardsPerNode"] is None or len(own) <= limits["maxShardsPerNode"]


def owners_or_none(placer: Placer, shards: Shards) -> Mapping[str, str] | None:
    try:
        owners = placer.owners(shards)
    except Infeasible:
        return None
    return {shard_id: placer.nodes[place].node_id for shard_id, place in zip(shards.ids, owners, strict=True)}


def placer_of(mesh: Mesh, constraints: Mapping[str, Any]) -> Placer | None:
    """None where the selector leaves no node, or fewer than replicas."""
    selector = constraints.get("selector", "")
    eligible = sorted(node.node_id for node in mesh.nodes.values() if selector == "" or "spot" not in node.labels)
    complete = Registry().complete(mesh.strategy.name, {**mesh.parameters, **constraints})
    nodes = list(mesh.nodes.values())
    if not eligible or len(eligible) < constraints.get("replicas", 1):
        with pytest.raises(Infeasible):
            Placer(mesh.strategy, complete, nodes)
        return None
    placer = Placer(mesh.strategy, complete, nodes)
    assert [node.node_id for node in placer.nodes] == eligible
    return placer


@given(meshes)
@thorough
def test_replicas_are_distinct_begin_with_the_owner_and_spread_as_defined(drawn: bytes) -> None:
    mesh = Mesh(BUILT_IN[drawn[-1] % len(BUILT_IN)], drawn, 1)
    count, spread = 1 + drawn[-2] % 6, mesh.random.choice(["none", "zone", "region"])
    placer = placer_of(mesh, {"replicas": count, "spread": spread})
    if placer is None:
        return
    owner = mesh.random.choice(sorted(mesh.nodes))
    rank = [mesh.nodes[node_id] for node_id in placer.rank(mesh.namespace, mesh.rows[0])]
    expected = second_opinion.replicas(rank, mesh.nodes[owner], count, spread)
    found = list(placer.replicas(mesh.namespace, mesh.rows[0], owner))
    assert found == [node.node_id for node in expected]
    assert len(set(found)) == count
