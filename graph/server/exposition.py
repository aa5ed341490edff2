"""The metrics of all workers as those of one server.

Samples of the same name and labels are added up. What is of one process only (the position of its feed, its memory) has
the label `worker`, so that nothing is added that has no sum. What is of the store, and so the same in every process but
for the time of a change, is that of the worker whose feed is ahead of the others'. What a worker has counted stays
counted once it has ended: a counter never falls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from prometheus_client import Metric, generate_latest
from prometheus_client.registry import Collector

from graph.execution.metrics import FEED_REVISION, OF_THE_STORE

Snapshot: TypeAlias = Sequence[Metric]
"""The metrics of one process at one time."""

WORKER: Final = "worker"
"""The label of samples that are of one process only."""

_MONOTONE: Final = frozenset({"counter", "histogram"})

_CREATED: Final = "_created"


class Totals(Collector):
    """What is exposed: `current` has a snapshot of each process that runs, `leaving` of those with a successor."""

    def __init__(self) -> None:
        self._ended: Snapshot = ()
        self.current: Sequence[Snapshot] = ()
        self.leaving: Sequence[Snapshot] = ()

    def end(self, last: Snapshot) -> None:
        """A process has ended. Of what it had counted, `last` is the newest that is known."""
        self._ended = merged([self._ended, [family for family in _shared(last) if family.type in _MONOTONE]])

    def collect(self) -> Iterator[Metric]:
        newest = max(self.current, key=_revision, default=())
        others = [_own(each) for each in self.current if each is not newest]
        yield from merged([self._ended, *map(_shared, self.leaving), newest, *others])

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self)


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """One family of each name, one sample of each name and labels: the sum, or of times of creation the earliest."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for family in (family for snapshot in snapshots for family in snapshot):
        families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
        known = values.setdefault(family.name, {})
        for sample in family.samples:
            key = (sample.name, tuple(sample.labels.items()))
            if key not in known:
                known[key] = sample.value
            elif sample.name == family.name + _CREATED:
                known[key] = min(known[key], sample.value)
            else:
                known[key] += sample.value
    for name, family in families.items():
        for (sample_name, labels), value in values[name].items():
            family.add_sample(sample_name, dict(labels), value)
    return list(families.values())


def _revision(snapshot: Snapshot) -> float:
    """Where the feed of the process was; of one without a feed behind all others."""
    found = [sample.value for family in snapshot if family.name == FEED_REVISION for sample in family.samples]
    return found[0] if found else -1.0


def _own(snapshot: Snapshot) -> Snapshot:
    """Without what is of the store."""
    return [family for family in snapshot if family.name not in OF_THE_STORE]


def _shared(snapshot: Snapshot) -> Snapshot:
    """Without what is of the store, or of one process only. Its label is its successor's."""
    kept = []
    for family in _own(snapshot):
        shared = Metric(family.name, family.documentation, family.type)
        shared.samples = [sample for sample in family.samples if WORKER not in sample.labels]
        if shared.samples:
            kept.append(shared)
    return kept
