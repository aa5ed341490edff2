"""Our strategies and libraries that others wrote, on the same shards and the same 200 nodes of equal weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tests.benchmarks.contenders import OURS, PEERS, Built, Contender, Names
from tests.benchmarks.report import SideBySide, say
from tests.benchmarks.timing import Times, duration, measured, size, timed

NODES: Final = 200
LEAVING: Final = 100
"""In the middle, where jump has to number anew all that follow."""
BUILD_RUNS: Final = 3
LOOKUPS: Final = 2_000
TRACED: Final = 100_000
"""Shards to measure memory with: tracing every allocation is slow."""

COLUMNS: Final = (
    "",
    "CV",
    "max / mean",
    "joins: moved",
    "joins: astray",
    "leaves: moved",
    "leaves: astray",
    "build",
    "assign",
    "one lookup",
    "keeps",
    "peak",
)


@dataclass(frozen=True, slots=True)
class Moves:
    """Shares of all shards: those that moved, and those of them that moved between nodes which stayed as they were."""

    moved: float
    astray: float

    @classmethod
    def between(cls, before: Names, after: Names, changed: str) -> Moves:
        moved = before != after
        astray = moved & (before != changed) & (after != changed)
        return cls(float(np.mean(moved)), float(np.mean(astray)))


def measure(ids: Sequence[str], pinned: str) -> SideBySide:
    rows = []
    for contender in (*OURS, *PEERS):
        row = _row(contender, ids)
        say("  " + "  ".join(row))
        rows.append(row)
    counting, least = np.sqrt(NODES / len(ids)), 1 / (NODES + 1)
    notes = [
        f"Weights are equal. {pinned} Times are processor time.",
        f"CV: standard deviation of a node's shards over their mean; counting alone makes {counting:.4f}.",
        f"joins: node-{NODES} is added; {least:.3%} is the least possible.",
        f"leaves: node-{LEAVING} is removed; what it had is the least possible.",
        "astray: moved between two nodes that were there before and after.",
        "assign: from ids to owners, the best of three runs.",
        "keeps: memory once built, with what the first assignment and the first lookup add.",
        f"peak: memory while assigning {TRACED:,} shards.",
    ]
    return SideBySide(f"{len(ids):,} shards on {NODES} nodes", COLUMNS, rows, notes)


def _row(contender: Contender, ids: Sequence[str]) -> list[str]:
    nodes = [f"node-{at}" for at in range(NODES)]
    changed = {"joins": [*nodes, f"node-{NODES}"], "leaves": [*nodes[:LEAVING], *nodes[LEAVING + 1 :]]}
    build, built = timed(BUILD_RUNS, lambda: contender.build(nodes))
    first, before = _assign(built, ids)
    runs, moves = [first], {}
    for event, others in changed.items():
        seconds, after = _assign(contender.build(others), ids)
        runs.append(seconds)
        moves[event] = Moves.between(before, after, f"node-{NODES if event == 'joins' else LEAVING}")
    counts = np.unique(before, return_counts=True)[1]
    counts = np.concatenate([counts, np.zeros(NODES - len(counts))])
    keeps, _, ready = measured(lambda: _used(contender.build(nodes), ids[:1]))
    _, peak, _ = measured(lambda: ready.assign(ids[:TRACED]))
    return [
        contender.name,
        f"{np.std(counts) / np.mean(counts):.4f}",
        f"{np.max(counts) / np.mean(counts):.3f}",
        *(f"{share:.3%}" for event in changed for share in (moves[event].moved, moves[event].astray)),
        duration(build.best),
        duration(min(runs)),
        duration(_lookup(built, ids).best / LOOKUPS),
        size(keeps),
        size(peak),
    ]


def _assign(built: Built, ids: Sequence[str]) -> tuple[float, Names]:
    times, assigned = timed(1, lambda: built.assign(ids))
    return times.best, built.names(assigned)


def _used(built: Built, ids: Sequence[str]) -> Built:
    built.assign(ids)
    built.lookup(ids[0])
    return built


def _lookup(built: Built, ids: Sequence[str]) -> Times:
    built.lookup(ids[0])
    lookup = built.lookup
    return timed(BUILD_RUNS, lambda: [lookup(shard_id) for shard_id in ids[:LOOKUPS]])[0]
