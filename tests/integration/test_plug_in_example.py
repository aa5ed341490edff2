"""The example in the documentation, installed as its readers are told to, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "docs/examples/omnirelay-together"

PLACE = """
import json
import sys

from graph.server.plugins import discover
from strategies.model import Node, Shards
from strategies.registry import Registry

registry = Registry(discover())
placer = registry.placer("together", {"selector": "disk=ssd"}, [
    *(Node(f"node-{place}", labels={"disk": "ssd"}) for place in range(5)), Node("spare")
])
ids = [f"group-{group}:{shard}" for group in range(20) for shard in range(5)]
owners = placer.owners(Shards.named("ns", ids))
json.dump({
    "strategies": [strategy.name for strategy in registry],
    "problems": list(registry.parameter_problems("together", {"separator": "/"})),
    "owners": {shard_id: placer.nodes[place].node_id for shard_id, place in zip(ids, owners.tolist(), strict=True)},
}, sys.stdout)
"""


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What PLACE prints where the example is installed."""
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    run(*pip, "install", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site), str(EXAMPLE))
    answered: dict[str, Any] = json.loads(run(sys.executable, "-c", PLACE, PYTHONPATH=f"{site}:{REPOSITORY}"))
    return answered


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_found_beside_the_built_in_strategies(answer: dict[str, Any]) -> None:
    assert answer["strategies"] == ["rendezvous", "ring", "locality", "maglev", "jump", "sticky", "together"]


def test_its_parameters_are_checked(answer: dict[str, Any]) -> None:
    assert answer["problems"] == [["separator", "must be one of :, ., -, _"]]


def test_shards_of_one_group_are_on_one_node_that_may_own_them(answer: dict[str, Any]) -> None:
    nodes_of: dict[str, set[str]] = {}
    for shard_id, node in answer["owners"].items():
        nodes_of.setdefault(shard_id.partition(":")[0], set()).add(node)
    assert len(nodes_of) == 20
    assert {len(nodes) for nodes in nodes_of.values()} == {1}
    assert set.union(*nodes_of.values()) == {f"node-{place}" for place in range(5)}
