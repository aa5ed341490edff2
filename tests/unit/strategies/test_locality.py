"""Locality: levels, modes and boosts; and shards grouped by hint are placed as each is alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from strategies.locality import Locality, LocalityPlacement
from strategies.model import Node, Owners, Shard, Shards
from strategies.rendezvous import Rendezvous

DEFAULTS: dict[str, Any] = {name: parameter.default for name, parameter in Locality.parameters.items()}
STRICT = {"mode": "strict"}

MESH = [
    Node("eu-a1", 10, "eu", "a"),
    Node("eu-a2", 10, "eu", "a", {"disk": "ssd"}),
    Node("eu-b1", 10, "eu", "b"),
    Node("us-a1", 10, "us", "a", {"disk": "ssd"}),
    Node("us-c1", 10, "us", "c"),
    Node("us-x", 10, "us"),
    Node("zone-only", 10, None, "a"),
    Node("nowhere", 10),
]
UNEVEN = [Node(node.node_id, 10 + at, node.region, node.zone, node.labels) for at, node in enumerate(MESH)]
HINTS = (None, "eu", "us", "region:eu", "eu/a", "eu/b", "us/a", "us/b", "zone:a", "zone:c", "zone:z", "asia", "asia/a")


def prepared(nodes: Sequence[Node], **parameters: Any) -> LocalityPlacement:
    return Locality().prepare(nodes, DEFAULTS | parameters)


def shards(hints: Sequence[str | None], count: int) -> list[Shard]:
    return [Shard(f"shard-{number}", 1.0, hints[number % len(hints)]) for number in range(count)]


def owned(placement: LocalityPlacement, rows: Sequence[Shard]) -> list[str]:
    return names(placement, placement.assign(Shards.of("orders", rows)))


def names(placement: LocalityPlacement, owners: Owners) -> list[str]:
    return [placement.nodes[owner].node_id for owner in owners.tolist()]


def levels(hint: str | None) -> dict[str, int]:
    standings = prepared(MESH).standings("orders", Shard("shard", 1.0, hint))
    return {standing.node_id: standing.level for standing in standings if standing.level}


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (None, {}),
        ("eu", {"eu-a1": 1, "eu-a2": 1, "eu-b1": 1}),
        ("region:us", {"us-a1": 1, "us-c1": 1, "us-x": 1}),
        ("eu/a", {"eu-a1": 2, "eu-a2": 2, "eu-b1": 1}),
        ("us/b", {"us-a1": 1, "us-c1": 1, "us-x": 1}),
        ("zone:a", {"eu-a1": 2, "eu-a2": 2, "us-a1": 2, "zone-only": 2}),
        ("asia/a", {}),
        ("zone:z", {}),
    ],
)
def test_a_zone_is_nearer_than_its_region_and_counts_in_that_region_alone(
    hint: str | None, expected: dict[str, int]
) -> None:
    assert levels(hint) == expected


def test_effective_weights_are_products_of_weight_and_boosts() -> None:
    placement = prepared(UNEVEN, regionBoost=3, zoneBoost=7, preferredLabels="disk=ssd", labelBoost=5)
    standings = placement.standings("orders", Shard("shard", 1.0, "eu/a"))
    assert {standing.node_id: standing.effective_weight for standing in standings} == {
        "eu-a1": 10 * 7,
        "eu-a2": 11 * 7 * 5,
        "eu-b1": 12 * 3,
        "us-a1": 13 * 5,
        "us-c1": 14,
        "us-x": 15,
        "zone-only": 16,
        "nowhere": 17,
    }


@pytest.mark.parametrize("nodes", [MESH, UNEVEN, MESH[:1]], ids=["even", "uneven", "one"])
@pytest.mark.parametrize("mode", ["prefer", "strict"])
@pytest.mark.parametrize("labels", ["", "disk=ssd"])
@pytest.mark.parametrize("hints", [HINTS, ("eu/a",), (None,)], ids=["mixed", "one", "none"])
def test_shards_together_are_placed_as_each_is_alone(
    nodes: list[Node], mode: str, labels: str, hints: tuple[str | None, ...]
) -> None:
    placement, rows = prepared(nodes, mode=mode, preferredLabels=labels), shards(hints, 100)
    owners = placement.assign(Shards.of("orders", rows))
    assert owners.dtype == np.int32
    assert names(placement, owners) == [placement.place("orders", row) for row in rows]
    for row in rows[:15]:
        rank = placement.rank("orders", row)
        assert rank[0] == placement.place("orders", row)
        assert sorted(rank) == sorted(node.node_id for node in nodes)


def test_without_hints_and_labels_it_is_rendezvous() -> None:
    rows = shards([None], 500)
    plain = Rendezvous().prepare(UNEVEN, {})
    for mode in ("prefer", "strict"):
        assert owned(prepared(UNEVEN, mode=mode), rows) == [plain.place("orders", row) for row in rows]


def test_strict_shards_stay_in_their_zone_and_fall_back_by_level() -> None:
    rows = shards(["eu/a"], 300)
    assert set(owned(prepared(MESH, **STRICT), rows)) == {"eu-a1", "eu-a2"}
    assert set(owned(prepared(MESH[2:], **STRICT), rows)) == {"eu-b1"}
    assert set(owned(prepared(MESH[3:], **STRICT), rows)) == {node.node_id for node in MESH[3:]}


def test_strict_ranks_go_from_level_to_level_and_by_score_within_one() -> None:
    for row in shards(["eu/a", "zone:a", "us"], 30):
        strict = prepared(UNEVEN, **STRICT).standings("orders", row)
        prefer = prepared(UNEVEN).standings("orders", row)
        assert strict == sorted(prefer, key=lambda standing: -standing.level)


def test_preferring_shares_by_boosted_weight() -> None:
    count = 20_000
    mesh = [
        Node("near", 1, "eu", "a"),
        Node("region", 1, "eu", "b"),
        Node("far", 1, "us", "a"),
        Node("ssd", 1, labels={"d": ""}),
    ]
    placement = prepared(mesh, regionBoost=3, zoneBoost=8, preferredLabels="d", labelBoost=4)
    found = Counter(owned(placement, shards(["eu/a"], count)))
    for name, weight in {"near": 8, "region": 3, "far": 1, "ssd": 4}.items():
        share = weight / 16
        assert abs(found[name] - count * share) <= 5 * math.sqrt(count * share * (1 - share)), name


def test_thousands_of_hints_that_no_node_answers_to_are_no_hint() -> None:
    rows = [Shard(f"shard-{number}", 1.0, f"r{number}/z{number}") for number in range(3_000)]
    plain = Rendezvous().prepare(UNEVEN, {}).assign(Shards.named("orders", [row.shard_id for row in rows]))
    assert prepared(UNEVEN).assign(Shards.of("orders", rows)).tolist() == plain.tolist()


def test_no_shards_have_no_owners() -> None:
    placement = prepared(MESH)
    none = Shards.of("orders", [])
    assert placement.assign(none).tolist() == []
    assert placement.reassign(none, np.empty(0, np.int32), placement).tolist() == []


CHANGES = {
    "none": MESH,
    "one added to a zone": [*MESH, Node("eu-a3", 12, "eu", "a")],
    "a zone opened": [*MESH, Node("us-b1", 10, "us", "b"), Node("asia-1", 10, "asia", "a")],
    "a zone closed": MESH[2:],
    "a region closed": MESH[3:],
    "one relocated": [Node("eu-a1", 10, "us", "c"), *MESH[1:]],
    "one relabelled": [Node("eu-a1", 10, "eu", "a", {"disk": "ssd"}), *MESH[1:]],
    "one lost its label": [Node("eu-a2", 10, "eu", "a"), MESH[0], *MESH[2:]],
    "re-weighted": UNEVEN,
    "heavier but moved away": [Node("eu-a1", 30, "us", "c"), Node("us-x", 3, "eu", "a"), *MESH[1:5]],
    "entirely others": [Node(f"other-{at}", 1 + at, node.region, node.zone) for at, node in enumerate(MESH)],
}


@pytest.mark.parametrize("mode", ["prefer", "strict"])
@pytest.mark.parametrize("after", CHANGES.values(), ids=CHANGES)
def test_placing_again_gives_what_placing_afresh_does(mode: str, after: list[Node]) -> None:
    same = Shards.of("orders", shards(HINTS, 2_000))
    parameters = {"mode": mode, "preferredLabels": "disk=ssd"}
    for was, now in ((MESH, after), (after, MESH)):
        before, placement = prepared(was, **parameters), prepared(now, **parameters)
        again = placement.reassign(same, before.assign(same), before)
        assert again.dtype == np.int32
        assert again.tolist() == placement.assign(same).tolist()


@pytest.mark.parametrize("mode", ["prefer", "strict"])
def test_a_node_added_takes_shards_and_no_others_move(mode: str) -> None:
    rows = shards(HINTS, 2_000)
    after = [*UNEVEN, Node("us-b1", 20, "us", "b")]
    pairs = zip(owned(prepared(UNEVEN, mode=mode), rows), owned(prepared(after, mode=mode), rows), strict=True)
    assert {now for was, now in pairs if was != now} == {"us-b1"}


def test_a_hint_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a locality"):
        prepared(MESH).place("orders", Shard("shard", 1.0, "zone:"))
