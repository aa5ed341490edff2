"""Writes docs/performance.md and its plots from results.json: `python -m tests.benchmarks.performance`.

Nothing is measured here. The same results make the same files, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.benchmarks import history, performance_plots, results
from tests.benchmarks.bars import bars
from tests.benchmarks.reads import BARE, OUR_NAME
from tests.benchmarks.sampling import at
from tests.benchmarks.workloads import WORKLOADS

PAGE: Final = Path(__file__).parents[2] / "docs" / "performance.md"

Parts = Mapping[str, Any]

_HEAD: Final = """\
# Performance

What the server answers a second, what each answer costs, and what the same machine does with other servers on the same
rows. This page and its plots are written by `make bench` from [what it measured](../tests/benchmarks/results.json);
`make plots` writes them again without measuring.

```console
$ make bench                               # some 17 minutes; nothing else should run meanwhile
$ make bench ARGS="--only reads,history"   # some parts; the others keep what was measured before
$ make bench ARGS="--help"
```

Load, server and PostgreSQL share the machine, so requests a second say as much about it as about the server, and differ
from run to run. **Processor time a request** hardly changes when a machine is busy: it is the figure to compare.
"""

_HOW: Final = """\
## How it is measured

- **Server**: `omnirelay serve` with default settings, in a process of its own, without tokens. Requests are ordinary
  POSTs of whole documents. A persisted query sends the hash of the same document in place of it; `documentId` that of
  the document in `frontend-queries` for the purpose, which asks for every field.
- **Load**: {generator} in a process of its own, {connections} connections that are kept alive, each sending the next
  request when it was answered. Requests rotate over all 10,000 shards, or all 100 namespaces.
- **Peers**: PostGraphile 5 and Mercurius with its JIT on Node, in production mode, on tables of their own in the same
  PostgreSQL with the same rows ([their programs](../tests/benchmarks/peers)). Mercurius has neither edges nor cursors.
  Bare uvicorn is an ASGI application that reads a request and answers the bytes that this server would, with uvloop and
  httptools: the least that any server of its kind can cost.
- **Checks**: before anything is timed, up to {checked:,} requests of each kind are sent to every contender, and what
  identifies each row (shard, version, owner) must be what this server answers. Afterwards no answer may have failed,
  nor may they be much smaller than the first.
- **Rounds**: {rounds} of {seconds:g} s for each contender, interleaved, so that what else happens meets all of them.
  Figures are medians of rounds.
- **Processor time**: of the server's process and those it started, and of all of PostgreSQL's, from `/proc`, divided by
  the requests answered meanwhile.
"""


def main() -> None:
    write()


def write() -> None:
    found = results.load()
    PAGE.write_text(document(found), "utf-8")
    performance_plots.draw(figures_of(found))


def figures_of(found: Parts) -> dict[str, Any]:
    return {name: each["figures"] for name, each in found.items()}


def document(found: Parts) -> str:
    """The whole page. Parts without results are left out."""
    figures = figures_of(found)
    sections = [_HEAD, *_machines(found), *_bars(figures)]
    for name, written in (
        ("reads", _reads),
        ("history", _history),
        ("growth", _growth),
        ("together", _together),
        ("workers", _workers),
        ("writes", _writes),
    ):
        if figures.get(name):
            sections.append("\n".join(written(figures[name])))
    sections += _others(found)
    if figures.get("reads"):
        sections.append(_HOW.format_map(figures["reads"]))
    return "\n".join(section.rstrip("\n") + "\n" for section in sections)


def _machines(found: Parts) -> Iterator[str]:
    by_run: dict[str, list[str]] = {}
    for name, each in found.items():
        by_run.setdefault(f"{each['machine']}; {each['measured']}", []).append(name)
    lines = [run if len(by_run) == 1 else f"{run}: {', '.join(names)}" for run, names in by_run.items()]
    if lines:
        yield "Measured on " + "\nand on ".join(lines) + "."


def _bars(figures: Parts) -> Iterator[str]:
    found = bars(figures)
    if not found:
        return
    rows = [(bar.what, bar.measured, bar.bound, "yes" if bar.is_met else "**no**", bar.note) for bar in found]
    lines = _table(("what", "measured", "bar", "met", "of"), rows)
    yield "\n".join(["## The bars", "", *lines])


def _reads(figures: Parts) -> Iterator[str]:
    yield "## Reads side by side\n"
    yield "![Processor time a request, of server and PostgreSQL](images/performance-cpu.svg)\n"
    for workload in WORKLOADS:
        contenders = figures["workloads"][workload.name]
        bare, ours = contenders[BARE]["server"], contenders[OUR_NAME]
        rows = [
            (
                name,
                _ms(each["server"]),
                _ms(each["postgres"]),
                f"{each['server'] / bare:.2f}",
                f"{(each['server'] + each['postgres']) / (ours['server'] + ours['postgres']):.2f}",
                f"{each['rate']:,.0f}",
                f"{each['rate'] / ours['rate']:.2f}",
                *(f"{at(each, percent):.2f}" for percent in (50, 99)),
            )
            for name, each in contenders.items()
        ]
        head = (
            workload.title,
            "server, ms",
            "PostgreSQL, ms",
            "server / bare",
            "both / ours",
            "requests/s",
            "/ ours",
            "p50, ms",
            "p99, ms",
        )
        yield "\n".join(_table(head, rows)) + "\n"
    new = figures["new"]
    yield (
        f"A list of 100 shards of which none was asked for before in this selection costs the server "
        f"{_ms(new['server'])} ms (median of {new['rounds']} selections, 99 lists of each).\n"
    )
    yield "![Share of requests answered within a time](images/performance-latency.svg)"


def _history(figures: Parts) -> Iterator[str]:
    yield "## History\n"
    yield f"Pages of {figures['page']} with more than {figures['depth']:,} rows of history:\n"
    first = figures["cases"][history.FIRST]
    rows = [
        (
            name,
            _ms(each["server"]),
            _ms(each["postgres"]),
            f"{(each['server'] + each['postgres']) / (first['server'] + first['postgres']):.2f}",
            f"{each['rate']:,.0f}",
            f"{at(each, 99):.1f}",
        )
        for name, each in figures["cases"].items()
    ]
    head = ("page, or operation", "server, ms", "PostgreSQL, ms", "both / the first", "requests/s", "p99, ms")
    yield "\n".join(_table(head, rows))


def _growth(figures: Parts) -> Iterator[str]:
    yield "## As the table grows\n"
    yield "![Lookups, processor time, memory and start by number of shards](images/performance-growth.svg)\n"
    rows = [
        (
            f"{each['shards']:,}",
            f"{each['lookups']['rate']:,.0f}",
            _ms(each["lookups"]["server"]),
            f"{at(each['lookups'], 99):.2f}",
            f"{each['ready']:.1f}",
            f"{each['served']:.1f}",
            f"{each['memory'] / 1e6:,.0f}",
        )
        for each in figures["sizes"]
    ]
    head = (
        "shards",
        "lookups/s",
        "server, ms",
        "p99, ms",
        "start to ready, s",
        "start to answers from memory, s",
        "memory, MB",
    )
    yield "\n".join(_table(head, rows))


def _together(figures: Parts) -> Iterator[str]:
    yield "## Everything at once\n"
    rows = [(f"p{percent:g}", f"{at(figures, percent):.1f} ms") for percent in (50, 90, 99, 99.9, 100)]
    yield (
        f"For {figures['seconds']:g} s: {figures['offered']:,.0f} lookups/s, half of what the server answers, sent\n"
        f"when they are due; {figures['changes']:,} changes, each sent to {figures['subscribers']} subscribers; and a\n"
        f"rebalance of {figures['moved']:,} of the shards that are looked up, planned in {figures['planned']:.1f} s\n"
        f"and applied in {figures['applied']:.1f} s. The changes took p99 {figures['change_p99']:.0f} ms.\n"
    )
    yield "\n".join(_table(("lookups", "from when they were due"), rows))


def _workers(figures: Parts) -> Iterator[str]:
    yield "## Workers\n"
    rows = [
        (name, f"{each['rate']:,.0f}", _ms(each["server"]), f"{at(each, 99):.2f}")
        for name, each in figures["lookups"].items()
    ]
    yield f"Lookups on {figures['connections']} connections, the load from a process of its own:\n"
    yield "\n".join(_table(("workers", "lookups/s", "server, ms", "p99, ms"), rows))


def _writes(figures: Parts) -> Iterator[str]:
    yield "## Writes\n"
    yield (
        f"`updateShard` on connections that are kept alive, each with a shard of its own: medians of\n"
        f"{figures['rounds']} rounds of {figures['seconds']:g} s. By hand is a loop on asyncpg, with a connection\n"
        "and a transaction for each change, on copies of the same tables, without GraphQL and policies; the\n"
        "server is its process. etcd puts a value of the size of a record, without audit or versions that are\n"
        "expected; over JSON, which costs it more than gRPC.\n"
    )
    head = ("clients", "", "changes/s", "p50, ms", "p99, ms", "server, ms", "PostgreSQL, ms")
    rows = [
        (clients, name, *_of_writes(each))
        for clients, contenders in figures["single"].items()
        for name, each in contenders.items()
    ]
    yield "\n".join(_table(head, rows)) + "\n"
    yield f"32 clients with {figures['share']:.0%} conflicts and {figures['share']:.0%} refusals among the answers:\n"
    mixed = [(name, *_of_writes(each)) for name, each in figures["mixed"].items()]
    yield "\n".join(_table(("", "answers/s", *head[3:]), mixed)) + "\n"
    yield "`updateShards`, all or none; plain SQL is one statement that writes as many rows:\n"
    bulks = [
        (
            f"{each['shards']:,}",
            f"{each['shards'] / each['seconds']:,.0f}",
            f"{1e3 * each['seconds']:,.0f}",
            f"{1e3 * each['plain']:,.0f}",
            _ms(each["server"]),
            _ms(each["postgres"]),
        )
        for each in figures["bulk"]
    ]
    columns = ("shards", "shards/s", "answer, ms", "plain SQL, ms", "server, ms a shard", "PostgreSQL, ms a shard")
    yield "\n".join(_table(columns, bulks))


def _of_writes(figures: Parts) -> tuple[str, ...]:
    latencies = (f"{at(figures, percent):.1f}" for percent in (50, 99))
    return (f"{figures['rate']:,.0f}", *latencies, _ms(figures["server"]), _ms(figures["postgres"]))


def _others(found: Parts) -> Iterator[str]:
    rows = [
        (row["what"], row["figure"], row["limit"], f"{row['ratio']:.3g}", row["better"])
        for each in found.values()
        for row in each["rows"]
    ]
    if rows:
        lines = _table(("what", "measured", "limit of the same run", "ratio", "better"), rows)
        yield "\n".join(["## Other figures", "", *lines])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    if any(not cell[:1].isdigit() for row in rows for cell in row[1:2]):
        cells[1] = ["---"] * len(head)
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]


def _ms(value: float) -> str:
    return f"{value:.3f}"


if __name__ == "__main__":
    main()
