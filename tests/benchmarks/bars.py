"""The bars that reads and writes are held to, each beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.benchmarks import commits, history, in_process
from tests.benchmarks.reads import BARE, KEPT_NAME, OUR_NAME, PERSISTED_NAME, POSTGRAPHILE_NAME, TRUSTED_NAME
from tests.benchmarks.sampling import at

Figures = Mapping[str, Any]

_NEW_LIST_MS: Final = 0.45
_HISTORY_MS: Final = 0.6


@dataclass(frozen=True, slots=True)
class Bar:
    """`figure` must be at most `limit`, or at least that where `at_least`."""

    what: str
    figure: float
    unit: str
    limit: float
    at_least: bool = False
    note: str = ""

    @property
    def is_met(self) -> bool:
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit

    @property
    def bound(self) -> str:
        return f"at {'least' if self.at_least else 'most'} {_number(self.limit)}{self.unit}"

    @property
    def measured(self) -> str:
        return f"{_number(self.figure)}{self.unit}"

    def __str__(self) -> str:
        return f"{self.what}: {self.measured}, {self.bound}" + (f" ({self.note})" if self.note else "")


def bars(figures: Mapping[str, Any]) -> Sequence[Bar]:
    """Of the parts there are figures of, and of the contenders that took part."""
    return [
        bar
        for name, made in (
            ("reads", _reads),
            ("history", _history),
            ("in_process", _in_process),
            ("fanout", _fanout),
            ("growth", _growth),
            ("workers", _workers),
            ("together", _together),
            ("writes", _writes),
        )
        if figures.get(name)
        for bar in made(figures[name])
    ]


def _reads(figures: Figures) -> Iterator[Bar]:
    lookup, listing, history_rows = (figures["workloads"][name] for name in ("lookup", "list", "history"))
    ours = lookup[OUR_NAME]
    yield _costs("one shard", lookup, OUR_NAME, BARE, 1.8)
    yield from _costs_if_there("one shard", lookup, OUR_NAME, KEPT_NAME, 0.8)
    yield from _rate_if_there("one shard", lookup, 8.0)
    yield Bar("one shard: p99", at(ours, 99), " ms", 5.0)
    yield from _costs_if_there("one shard, persisted query", lookup, PERSISTED_NAME, BARE, 1.6)
    yield from _costs_if_there("one shard by documentId, every field", lookup, TRUSTED_NAME, BARE, 1.6)
    yield _costs("100 shards, asked for before", listing, OUR_NAME, BARE, 4.0)
    yield Bar("100 shards, each one new: processor time", figures["new"]["server"], " ms", _NEW_LIST_MS)
    yield from _costs_if_there("100 shards with edges", listing, OUR_NAME, KEPT_NAME, 0.6)
    yield from _rate_if_there("100 shards with edges", listing, 12.0)
    yield from _rate_if_there("50 rows of history", history_rows, 2.0)
    yield Bar("50 rows of history: server and PostgreSQL", _both(history_rows[OUR_NAME]), " ms", _HISTORY_MS)


def _history(figures: Figures) -> Iterator[Bar]:
    cases, depth = figures["cases"], figures["depth"]
    for first, deep in ((history.FIRST, history.DEEP), (history.FIRST_OF_ALL, history.DEEP_OF_ALL)):
        name = deep.format(rows=depth)
        ratio = _both(cases[name]) / _both(cases[first])
        yield Bar(f"history, {name}: cost", ratio, " x the first page", 1.5)
    ratio = _both(cases[history.WITHOUT]) / _both(cases[history.FIRST])
    yield Bar(f"history, {history.WITHOUT}: cost", ratio, " x one with", 1.0)
    for name in history.OPERATIONS:
        yield Bar(f"{name}, {figures['page']} rows: server and PostgreSQL", _both(cases[name]), " ms", _HISTORY_MS)


def _in_process(figures: Figures) -> Iterator[Bar]:
    what = f"updateShards of {figures['shards']:,}: event loop before the database is asked"
    yield Bar(what, figures["update_shards"], " ms", 50.0)
    for name, limit in zip(in_process.FOLLOWED, (0.25, 0.45), strict=True):
        yield Bar(f"a batch of {figures['diffs']} diffs, {name}", figures["batches"][name], " ms", limit)


def _fanout(figures: Figures) -> Iterator[Bar]:
    ours, bare = figures["messages"], figures["bare"]
    what, note = f"flat out, {figures['subscribers']:,} subscribers: messages/s", f"{ours:,.0f}/s and {bare:,.0f}/s"
    yield Bar(what, ours / bare, f" x {BARE}", 0.7, at_least=True, note=note)


def _growth(figures: Figures) -> Iterator[Bar]:
    by_size = {each["shards"]: each for each in figures["sizes"]}
    (smallest, *_, largest), reference = sorted(by_size), 10_000
    of_largest = by_size[largest]
    ratio = of_largest["lookups"]["rate"] / by_size[reference]["lookups"]["rate"]
    yield Bar(f"lookups among {largest:,} shards", ratio, f" x those among {reference:,}", 0.8, at_least=True)
    yield Bar(
        f"{largest:,} shards: start to ready, from memory", max(of_largest["ready"], of_largest["served"]), " s", 20.0
    )
    each = (of_largest["memory"] - by_size[smallest]["memory"]) / (largest - smallest)
    yield Bar(f"{largest:,} shards: memory a shard", each, " bytes", 1_000.0)


def _workers(figures: Figures) -> Iterator[Bar]:
    one, two = (figures["lookups"][name]["rate"] for name in ("1", "2"))
    yield Bar("lookups of two workers", two / one, " x those of one", 1.5, at_least=True)


def _together(figures: Figures) -> Iterator[Bar]:
    note = f"{figures['answered']:,.0f} lookups/s of {figures['offered']:,.0f} offered"
    yield Bar("everything at once: lookup p99", at(figures, 99), " ms", 25.0, note=note)


def _writes(figures: Figures) -> Iterator[Bar]:
    ours = figures["single"]["32"][commits.ONE]
    yield Bar("updateShard, 32 clients: changes/s", ours["rate"], "/s", 1_200.0, at_least=True)
    yield Bar("updateShard, 32 clients: p99", at(ours, 99), " ms", 60.0)
    yield Bar("updateShard, 32 clients: server and PostgreSQL", _both(ours), " ms", 1.0)
    largest = figures["bulk"][-1]
    what = f"updateShards of {largest['shards']:,}: shards/s"
    yield Bar(what, largest["shards"] / largest["seconds"], "/s", 12_000.0, at_least=True)


def _both(figures: Figures) -> float:
    """Milliseconds a request of server and PostgreSQL."""
    return float(figures["server"] + figures["postgres"])


def _costs(what: str, contenders: Figures, name: str, other: str, limit: float) -> Bar:
    ours, theirs = contenders[name]["server"], contenders[other]["server"]
    note = f"{ours:.3f} ms and {theirs:.3f} ms"
    return Bar(f"{what}: processor time", ours / theirs, f" x {other}", limit, note=note)


def _costs_if_there(what: str, contenders: Figures, name: str, other: str, limit: float) -> Iterator[Bar]:
    if name in contenders and other in contenders:
        yield _costs(what, contenders, name, other, limit)


def _rate_if_there(what: str, contenders: Figures, limit: float) -> Iterator[Bar]:
    if POSTGRAPHILE_NAME in contenders:
        ours, theirs = contenders[OUR_NAME]["rate"], contenders[POSTGRAPHILE_NAME]["rate"]
        note = f"{ours:,.0f}/s and {theirs:,.0f}/s"
        yield Bar(f"{what}: requests/s", ours / theirs, f" x {POSTGRAPHILE_NAME}", limit, at_least=True, note=note)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
