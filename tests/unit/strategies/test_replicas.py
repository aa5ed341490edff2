"""Which nodes hold the copies of a shard."""

from __future__ import annotations

import pytest

from strategies.model import Node
from strategies.placing import choose_replicas

EU1, EU2 = (
    [Node(f"e{place}", 1, "eu", "z1") for place in (1, 2)],
    [Node(f"f{place}", 1, "eu", "z2") for place in (1, 2)],
)
US1, NOWHERE = [Node(f"u{place}", 1, "us", "z1") for place in (1, 2)], [Node("n1"), Node("n2")]


def chosen(rank: list[Node], count: int, spread: str, owner: Node | None = None) -> list[str]:
    return [node.node_id for node in choose_replicas(owner or rank[0], rank, count, spread)]


def test_one_replica_is_the_owner() -> None:
    assert chosen([*EU1, *US1], 1, "zone") == ["e1"]


def test_without_spread_the_next_in_rank_follow() -> None:
    assert chosen([*EU1, *US1], 3, "none") == ["e1", "e2", "u1"]


def test_the_owner_comes_first_wherever_it_ranks() -> None:
    assert chosen([*EU1, *US1], 3, "none", US1[1]) == ["u2", "e1", "e2"]


def test_zones_are_used_evenly() -> None:
    rank = [*EU1, *EU2, *US1]
    assert chosen(rank, 6, "zone") == ["e1", "f1", "u1", "e2", "f2", "u2"]


def test_regions_are_used_evenly() -> None:
    rank = [*EU1, *EU2, *US1]
    assert chosen(rank, 6, "region") == ["e1", "u1", "e2", "u2", "f1", "f2"]


def test_the_owners_zone_counts() -> None:
    assert chosen([*EU1, *EU2], 2, "zone", EU1[1]) == ["e2", "f1"]


def test_zones_of_one_name_in_two_regions_are_two() -> None:
    assert chosen([*EU1, *US1], 2, "zone") == ["e1", "u1"]


def test_nodes_that_tell_no_zone_count_as_in_one() -> None:
    assert chosen([*NOWHERE, *EU1], 4, "zone") == ["n1", "e1", "n2", "e2"]


@pytest.mark.parametrize("spread", ["none", "zone", "region"])
def test_all_nodes_can_be_replicas_once_each(spread: str) -> None:
    rank = [*EU1, *EU2, *US1, *NOWHERE]
    assert sorted(chosen(rank, 8, spread)) == sorted(node.node_id for node in rank)
