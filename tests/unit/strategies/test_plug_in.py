"""What authors of plug-ins are spared, and the single shards they are given."""

from __future__ import annotations

import numpy as np
import pytest

from strategies.hints import Hint, hint_text, read_hint
from strategies.model import Node, Shard, Shards, shard_at, taken
from tests.support.fake_strategies import MixedPlacement

PLACEMENT = MixedPlacement([Node("c"), Node("a"), Node("b")])
SHARDS = Shards.of("ns", [Shard("x", 0.5, "eu/eu-1"), Shard("y"), Shard("z", 2.0, "zone:eu-1"), Shard("w", 1.0, "eu")])


def test_nodes_are_ordered_by_id() -> None:
    assert [node.node_id for node in PLACEMENT.nodes] == ["a", "b", "c"]


def test_place_and_assign_are_the_first_of_rank() -> None:
    first = [PLACEMENT.rank("ns", Shard(shard_id))[0] for shard_id in SHARDS.ids]
    assert [PLACEMENT.place("ns", Shard(shard_id)) for shard_id in SHARDS.ids] == first
    owners = PLACEMENT.assign(SHARDS)
    assert owners.dtype == np.int32
    assert [PLACEMENT.nodes[place].node_id for place in owners.tolist()] == first


def test_reassign_is_assign() -> None:
    before = MixedPlacement([Node("a")])
    assert np.array_equal(PLACEMENT.reassign(SHARDS, before.assign(SHARDS), before), PLACEMENT.assign(SHARDS))


def test_a_shard_comes_out_of_the_columns_as_it_went_in() -> None:
    assert [shard_at(SHARDS, place) for place in range(4)] == [
        Shard("x", 0.5, "eu/eu-1"),
        Shard("y", 1.0, None),
        Shard("z", 2.0, "zone:eu-1"),
        Shard("w", 1.0, "region:eu"),
    ]


def test_some_shards_are_taken_with_all_their_columns() -> None:
    some = taken(SHARDS, np.array([2, 0]))
    assert [shard_at(some, place) for place in range(2)] == [shard_at(SHARDS, place) for place in (2, 0)]
    assert some.keys.tolist() == Shards.named("ns", ["z", "x"]).keys.tolist()


@pytest.mark.parametrize("hint", [Hint(), Hint("eu"), Hint(zone="eu-1"), Hint("eu", "eu-1")])
def test_a_hint_is_read_from_its_text(hint: Hint) -> None:
    assert read_hint(hint_text(hint)) == hint
