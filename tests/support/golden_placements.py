"""The library held against tests/golden/placements.json; run as a program, all of it in one process.

python -m tests.support.golden_placements
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

import numpy as np

from strategies.bounded import NOWHERE
from strategies.hashing import mix, node_key, node_keys, shard_key
from strategies.logarithm import score
from strategies.model import Node, Placement, Shard, Shards
from strategies.registry import Registry
from strategies.sticky import Present

T = TypeVar("T")
DOCUMENT: Final[Mapping[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "golden" / "placements.json").read_text("utf-8")
)


def check_keys() -> None:
    for vector in DOCUMENT["keys"]:
        first, second = node_keys(vector["text"])
        assert [str(first), str(second)] == vector["words"]


def check_scores() -> None:
    for vector in DOCUMENT["scores"]:
        assert str(score(int(vector["hash"]), vector["weight"])) == vector["score"], vector


def check_case(case: Mapping[str, Any], random: Random) -> None:
    registry = Registry()
    strategy, namespace, parameters = registry[case["algorithm"]], case["namespace"], case["parameters"]
    assert strategy.algorithm_version == case["algorithmVersion"]
    rows = shuffled(case["shards"], random)
    shards = read_shards(namespace, rows)
    placer = registry.placer(strategy.name, parameters, shuffled(read_nodes(case), random))
    owners = [placer.nodes[place].node_id for place in placer.owners(shards)]
    assert owners == [row["owner"] for row in rows]
    for row in rows:
        shard = read_shard(row)
        rank = list(placer.rank(namespace, shard))
        assert rank[:5] == row["rank"], row
        assert sorted(rank) == [node.node_id for node in placer.nodes]
        if "replicas" in row:
            assert list(placer.replicas(namespace, shard, row["owner"])) == row["replicas"], row
    if parameters.keys() <= strategy.parameters.keys():
        check_placement(prepared(case, case, random), namespace, rows)
    check_scores_of_pairs(case)


def check_placement(placement: Placement, namespace: str, rows: Sequence[Mapping[str, Any]]) -> None:
    assert owner_ids(placement, read_shards(namespace, rows)) == [row["owner"] for row in rows]
    for row in rows:
        assert placement.place(namespace, read_shard(row)) == row["owner"], row
        assert list(placement.rank(namespace, read_shard(row)))[:5] == row["rank"], row


def check_scores_of_pairs(case: Mapping[str, Any]) -> None:
    weights = {node["nodeId"]: node["weight"] for node in case["nodes"]}
    for row in case["shards"]:
        if "scores" in row:
            key = shard_key(case["namespace"], row["shardId"])
            found = [str(score(mix(key, node_key(node_id)), weights[node_id])) for node_id in row["rank"]]
            assert found == row["scores"], row


def check_keeping(case: Mapping[str, Any], random: Random) -> None:
    """What `sticky` makes of shards that have owners."""
    placer = Registry().placer("sticky", case["parameters"], shuffled(read_nodes(case), random))
    rows = shuffled(case["shards"], random)
    index_of = {node.node_id: index for index, node in enumerate(placer.nodes)}
    present = np.array([index_of.get(row.get("present"), NOWHERE) for row in rows], np.int32)
    shards = read_shards(case["namespace"], rows)
    found = placer.owners(shards, present=Present(present, case["threshold"]))
    assert [placer.nodes[place].node_id for place in found] == [row["owner"] for row in rows]
    again = placer.owners(shards, present=Present(found, case["threshold"]))
    assert again.tolist() == found.tolist()


def check_sequence(sequence: Mapping[str, Any], random: Random) -> None:
    rows = list(enumerate(sequence["shards"]))
    random.shuffle(rows)
    shards = read_shards(sequence["namespace"], [row for _, row in rows])
    before = prepared(sequence, sequence["steps"][0], random)
    owners = before.assign(shards)
    for step in sequence["steps"]:
        expected = [step["owners"][at] for at, _ in rows]
        placement = prepared(sequence, step, random)
        assert owner_ids(placement, shards) == expected, step["change"]
        owners = placement.reassign(shards, owners, before)
        assert [placement.nodes[place].node_id for place in owners] == expected, step["change"]
        before = placement


def prepared(case: Mapping[str, Any], step: Mapping[str, Any], random: Random) -> Placement:
    registry = Registry()
    strategy = registry[case["algorithm"]]
    complete = registry.complete(strategy.name, case["parameters"])
    own = {name: complete[name] for name in strategy.parameters}
    return strategy.prepare(shuffled(read_nodes(step), random), own)


def owner_ids(placement: Placement, shards: Shards) -> list[str]:
    return [placement.nodes[place].node_id for place in placement.assign(shards)]


def read_nodes(step: Mapping[str, Any]) -> list[Node]:
    return [
        Node(row["nodeId"], row["weight"], row.get("region"), row.get("zone"), row.get("labels", {}))
        for row in step["nodes"]
    ]


def read_shard(row: Mapping[str, Any]) -> Shard:
    return Shard(row["shardId"], row.get("capacity", 1.0), row.get("localityHint"))


def read_shards(namespace: str, rows: Sequence[Mapping[str, Any]]) -> Shards:
    return Shards.of(namespace, [read_shard(row) for row in rows])


def shuffled(items: Sequence[T], random: Random) -> list[T]:
    return random.sample(items, len(items))


def main() -> None:
    check_keys()
    check_scores()
    for case in DOCUMENT["cases"]:
        check_case(case, Random(1))
    for sequence in DOCUMENT["sequences"]:
        check_sequence(sequence, Random(2))
    for case in DOCUMENT["keeping"]:
        check_keeping(case, Random(3))


if __name__ == "__main__":
    main()
