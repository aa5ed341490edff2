"""What lookups and assignments cost as nodes grow in number: `python -m tests.benchmarks.costs` measures it anew.

Times differ from run to run, so they are kept in costs.json, and `make plots` draws the same picture from it each time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from strategies.jump import Jump
from strategies.maglev import Maglev
from strategies.model import Node
from strategies.rendezvous import Rendezvous
from strategies.ring import Ring
from tests.benchmarks.contenders import UHASHRING, Built, Contender, Ours, Prepared, prepare
from tests.benchmarks.report import say
from tests.benchmarks.timing import duration, one_core, timed

FILE: Final = Path(__file__).with_name("costs.json")
NODES: Final = (3, 10, 30, 100, 300, 1_000)
SHARDS: Final = 100_000
LOOKUPS: Final = 500
RUNS: Final = 5
SECONDS: Final = 1.0
"""What is over sooner than that in so many runs is run more often."""


@dataclass(frozen=True)
class _Different:
    """Rendezvous, with no two weights equal."""

    name: str = "rendezvous, different weights"

    def build(self, nodes: Sequence[str]) -> Built:
        return Prepared(prepare(Rendezvous(), [Node(node_id, 1 + at) for at, node_id in enumerate(nodes)]))


CONTENDERS: Final[Sequence[Contender]] = (
    Ours(Rendezvous()),
    _Different(),
    Ours(Ring()),
    Ours(Maglev()),
    Ours(Jump()),
    UHASHRING,
)


def main() -> None:
    ids = [f"shard-{number}" for number in range(SHARDS)]
    with one_core() as pinned:
        say(pinned)
        costs = {contender.name: [_cost(contender, nodes, ids) for nodes in NODES] for contender in CONTENDERS}
    document = {
        "about": f"Seconds of processor time, the best of {RUNS} runs or more; assign is for {SHARDS:,} shards.",
        "shards": SHARDS,
        "nodes": NODES,
        "costs": costs,
    }
    FILE.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _cost(contender: Contender, count: int, ids: Sequence[str]) -> dict[str, Any]:
    nodes = [f"node-{at}" for at in range(count)]
    built = contender.build(nodes)
    cost = {
        "build": _best(lambda: contender.build(nodes)),
        "assign": _best(lambda: built.assign(ids)),
        "lookup": _best(lambda: [built.lookup(shard_id) for shard_id in ids[:LOOKUPS]]) / LOOKUPS,
    }
    say(f"  {contender.name}, {count:,} nodes: " + ", ".join(f"{what} {duration(took)}" for what, took in cost.items()))
    return {what: _rounded(took) for what, took in cost.items()}


def _best(work: Callable[[], object]) -> float:
    once, _ = timed(1, work)
    again, _ = timed(max(RUNS, min(100, int(SECONDS / once.best))), work)
    return min(once.best, again.best)


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.3g}")


if __name__ == "__main__":
    main()
