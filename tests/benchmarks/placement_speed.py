"""A million shards on 200 nodes: against the targets, against the field, and against a loop of our own `place`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from strategies.hashing import node_key
from strategies.logarithm import table
from strategies.model import Node, Owners, Shard, Shards
from strategies.rendezvous import Rendezvous
from tests.benchmarks.contenders import NAMESPACE, UHASHRING, prepare
from tests.benchmarks.report import Report
from tests.benchmarks.textbook import greatest_hash, least_logarithm
from tests.benchmarks.timing import Times, duration, timed

NODES: Final = 200
ASSIGN_TARGET_SECONDS: Final = 1.0
STEP_TARGET_SECONDS: Final = 0.05
TABLE_TARGET_SECONDS: Final = 0.1
FIELD_NANOSECONDS: Final = 4.0
"""A pair of shard and node by NumPy, all weights equal: 3.9 to 4.5 ns were measured when the field was surveyed."""
LOOP_SAMPLE: Final = 2_000
PEER_RUNS: Final = 3
WEIGHTINGS: Final = {"equal": [1] * NODES, "different": list(range(1, NODES + 1))}


def measure(report: Report, ids: Sequence[str], runs: int) -> None:
    table.cache_clear()
    once, _ = timed(1, table)
    target = TABLE_TARGET_SECONDS
    report.add(
        "table of logarithms, once a process",
        duration(once.best),
        f"target {duration(target)}",
        once.best / target,
        "lower",
    )
    whole = {weighting: _Million(report, ids, runs, weighting).measure() for weighting in WEIGHTINGS}
    ring = UHASHRING.build([f"node-{at}" for at in range(NODES)])
    theirs, _ = timed(PEER_RUNS, lambda: ring.assign(ids))
    for weighting, seconds in whole.items():
        what = f"{len(ids):,} shards x {NODES}, {weighting} weights, ids hashed"
        report.add(what, duration(seconds), f"uhashring, equal weights: {theirs}", seconds / theirs.best, "lower")


class _Million:
    def __init__(self, report: Report, ids: Sequence[str], runs: int, weighting: str) -> None:
        self._report = report
        self._ids = ids
        self._runs = runs
        self._nodes = [Node(f"node-{at}", weight) for at, weight in enumerate(WEIGHTINGS[weighting])]
        self._what = f"{len(ids):,} shards x {NODES}, {weighting} weights"
        self._placement = prepare(Rendezvous(), self._nodes)
        self._shards = Shards.named(NAMESPACE, ids)

    def measure(self) -> float:
        """Seconds from ids and nodes to owners."""
        whole, _ = timed(self._runs, self._from_ids)
        self._against_target("ids hashed", whole, ASSIGN_TARGET_SECONDS)
        _ = self._shards.keys
        keyed, owners = timed(self._runs, lambda: self._placement.assign(self._shards))
        self._against_target("keys at hand", keyed, ASSIGN_TARGET_SECONDS)
        self._against_the_field(keyed)
        self._one_node_more_or_less(owners)
        self._loop(keyed)
        return whole.best

    def _from_ids(self) -> Owners:
        return prepare(Rendezvous(), self._nodes).assign(Shards.named(NAMESPACE, self._ids))

    def _against_target(self, what: str, times: Times, target: float) -> None:
        scaled = target * len(self._ids) / 1_000_000
        self._report.add(
            f"{self._what}: {what}", str(times), f"target {duration(scaled)}", times.best / scaled, "lower"
        )

    def _against_the_field(self, keyed: Times) -> None:
        pairs = len(self._ids) * NODES
        nanoseconds = keyed.best / pairs * 1e9
        what, figure = f"{self._what}: each pair", f"{nanoseconds:.2f} ns"
        self._report.add(
            what, figure, f"the field: {FIELD_NANOSECONDS:.0f} ns", nanoseconds / FIELD_NANOSECONDS, "lower"
        )
        keys = np.array([node_key(node.node_id) for node in self._nodes], np.uint64)
        weights = np.array([node.weight for node in self._nodes])
        equal = len(np.unique(weights)) == 1
        textbook, _ = timed(
            PEER_RUNS,
            lambda: (
                greatest_hash(self._shards.keys, keys) if equal else least_logarithm(self._shards.keys, keys, weights)
            ),
        )
        limit = f"textbook NumPy{'' if equal else ', floating point'}: {textbook.best / pairs * 1e9:.2f} ns"
        self._report.add(what, figure, limit, keyed.best / textbook.best, "lower")

    def _one_node_more_or_less(self, owners: Owners) -> None:
        node = self._nodes[NODES // 2]
        more = prepare(Rendezvous(), [*self._nodes, replace(node, node_id="node-added")])
        times, then = timed(self._runs, lambda: more.reassign(self._shards, owners, self._placement))
        self._against_target("one node joins", times, STEP_TARGET_SECONDS)
        times, back = timed(self._runs, lambda: self._placement.reassign(self._shards, then, more))
        self._against_target("one node leaves", times, STEP_TARGET_SECONDS)
        if (back != owners).any():
            raise RuntimeError("a node that came and went has left a trace")

    def _loop(self, keyed: Times) -> None:
        sample = [Shard(shard_id) for shard_id in self._ids[:LOOP_SAMPLE]]
        loop, _ = timed(PEER_RUNS, lambda: [self._placement.place(NAMESPACE, shard) for shard in sample])
        seconds = loop.best * len(self._ids) / len(sample)
        limit = f"a loop of `place`: {duration(seconds)}, scaled from {len(sample):,} shards"
        self._report.add(f"{self._what}: one by one", duration(keyed.best), limit, keyed.best / seconds, "lower")
