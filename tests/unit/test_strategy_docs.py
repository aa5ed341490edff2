"""docs/strategies.md agrees with the library: parameters, promises, examples, every number that can be counted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strategies.constraints import CONSTRAINTS
from strategies.hashing import mix, node_key, shard_key
from strategies.logarithm import negative_log2, score, table
from strategies.model import Node, Shards
from strategies.registry import BUILT_IN, Registry
from strategies.rendezvous import Rendezvous

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "strategies.md").read_text("utf-8")
SPACES = re.compile(r"\s+")
NAMES = [strategy.name for strategy in BUILT_IN]
OURS: Mapping[str, Mapping[str, Any]] = {
    **{strategy.name: strategy.parameters for strategy in BUILT_IN},
    "any": CONSTRAINTS,
}


def table_under(*heads: str) -> list[list[str]]:
    """The cells of the rows of the table with these first column heads."""
    lines = iter(PAGE.splitlines())
    next(line for line in lines if line.startswith("| " + " | ".join(heads)))
    return list(rows(islice(lines, 1, None)))


def rows(lines: Iterator[str]) -> Iterator[list[str]]:
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]


def test_every_parameter_is_listed_with_its_default_and_its_rule_and_no_other() -> None:
    listed = {
        (of, name): (json.loads(default), rule) for of, name, default, rule, _ in table_under("strategy", "parameter")
    }
    assert listed == {
        (of, name): (parameter.default, parameter.rule)
        for of, parameters in OURS.items()
        for name, parameter in parameters.items()
    }


def test_every_strategy_is_in_the_table_that_helps_to_choose() -> None:
    assert sorted(row[1].strip("`") for row in table_under("what matters")) == sorted(NAMES)


def test_what_each_strategy_promises_is_what_it_declares() -> None:
    heads = re.search(r"^\| \| (.+) \|\n\|[-|]+\n\| promise \| (.+) \|$", PAGE, re.MULTILINE)
    assert heads is not None
    promised = {
        name: promise.strip(" `")
        for names, promise in zip(heads[1].split(" | "), heads[2].split(" | "), strict=True)
        for name in re.findall(r"`(\w+)`", names)
    }
    assert promised == {strategy.name: strategy.movement.name for strategy in BUILT_IN}


def test_every_strategy_is_defined_in_the_version_there_is() -> None:
    defined = re.findall(r"^### (\w+) \(version (\d+)\)$", PAGE, re.MULTILINE)
    assert sorted(defined) == sorted((strategy.name, str(strategy.algorithm_version)) for strategy in BUILT_IN)


def test_the_configuration_shown_is_a_valid_one() -> None:
    given = {"mode": "strict", "selector": "disk=ssd,!spot", "maxLoadPercent": 125}
    assert 'parameters = { mode = "strict", selector = "disk=ssd,!spot", maxLoadPercent = 125 }' in PAGE
    assert list(Registry().parameter_problems("locality", given)) == []


def test_hit_rates_are_those_of_the_formula() -> None:
    boosts = [4, 16, 64, 1024]
    heads = ("part of the weight that is local", *(f"boost {boost}" for boost in boosts))
    for part, *rates in table_under(*heads):
        local = 1 / int(part.removeprefix("1/"))
        assert rates == [f"{local * boost / (local * boost + 1 - local):.1%}".replace("%", " %") for boost in boosts]
    zone, region, rest = 64 / 9, 16 * 2 / 9, 6 / 9
    rates = [f"{100 * part / (zone + region + rest):.1f} %" for part in (zone, region, rest)]
    assert "{} in the zone, {} in the region's other zones, and {} elsewhere".format(*rates) in words(PAGE)


@pytest.mark.parametrize("row", table_under("strategy", "`maxLoadPercent`"), ids=lambda row: "-".join(row[:2]))
def test_what_bounds_cost_is_what_they_cost(row: list[str]) -> None:
    strategy, percent, *costs = row
    shards = Shards.named("plots", [f"shard-{at}" for at in range(100_000)])
    nodes = [Node(f"node-{at}") for at in range(50)]

    def owners(nodes: list[Node], **given: Any) -> Any:
        placer = Registry().placer(strategy, given, nodes)
        return np.array([node.node_id for node in placer.nodes])[placer.owners(shards)]

    before = owners(nodes, maxLoadPercent=int(percent))
    joined = owners([*nodes, Node("node-50")], maxLoadPercent=int(percent))
    left = owners([*nodes[:25], *nodes[26:]], maxLoadPercent=int(percent))
    elsewhere = before != owners(nodes)
    astray = [(before != joined) & (joined != "node-50"), (before != left) & (before != "node-25")]
    assert costs == [f"{100 * each.mean():.2f} %" for each in (elsewhere, *astray)]


def test_the_worked_example_is_right() -> None:
    key = shard_key("orders", "shard-0")
    assert f"For shard `shard-0` of namespace `orders`, whose key is {key}:" in PAGE
    scores = {}
    for node_id, weight, listed_key, *numbers in table_under("node", "weight", "key"):
        mixed = mix(key, node_key(node_id))
        scores[score(mixed, int(weight))] = node_id
        expected = [node_key(node_id), mixed, negative_log2(mixed), score(mixed, int(weight))]
        assert [int(listed_key), *map(int, numbers)] == expected
    ranked = ", ".join(f"`{scores[each]}`" for each in sorted(scores))
    assert f"So the rank is {ranked}." in PAGE
    nodes = [Node(f"node-{weight}", weight) for weight in (1, 2, 3)]
    owners = Rendezvous().prepare(nodes, {}).assign(Shards.named("orders", ["shard-0"]))
    assert nodes[owners[0]].node_id == scores[min(scores)]


def test_entries_of_the_logarithms_table_are_those_there_are() -> None:
    listed = dict(re.findall(r"T\[(\d+)\] = (\d+)", words(PAGE)))
    assert len(listed) == 3
    assert all(table()[int(place)] == int(entry) for place, entry in listed.items())


def test_every_file_that_is_linked_or_shown_is_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGE):
        assert (DOCS / link).exists(), link


def words(text: str) -> str:
    return SPACES.sub(" ", text)
