"""The plots of docs/performance.md, in the style of those of docs/strategies.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from tests.benchmarks.plots import BLUE, GREEN, INK, ORANGE, picture
from tests.benchmarks.reads import (
    BARE,
    KEPT_NAME,
    MERCURIUS_NAME,
    OUR_NAME,
    PERSISTED_NAME,
    POSTGRAPHILE_NAME,
    TRUSTED_NAME,
)
from tests.benchmarks.workloads import WORKLOADS

LINES: Final = {
    BARE: (INK, ":"),
    OUR_NAME: (BLUE, "-"),
    PERSISTED_NAME: (BLUE, "-."),
    TRUSTED_NAME: (BLUE, "--"),
    KEPT_NAME: (GREEN, "-"),
    MERCURIUS_NAME: (GREEN, "--"),
    POSTGRAPHILE_NAME: (ORANGE, "-"),
}

Figures = Mapping[str, Any]


def draw(parts: Figures) -> None:
    """Those there are results for."""
    for part, name, drawn in (
        ("reads", "cpu", cpu),
        ("reads", "latency", latency),
        ("growth", "growth", growth),
    ):
        if parts.get(part):
            with picture(f"performance-{name}.svg") as figure:
                drawn(figure, parts[part])


def cpu(figure: Figure, reads: Figures) -> None:
    """Of each workload and contender, stacked: the server, and PostgreSQL on top of it."""
    figure.set_size_inches(10, 3.6)
    panels = figure.subplots(1, len(WORKLOADS))
    for axes, workload in zip(panels, WORKLOADS, strict=True):
        contenders = reads["workloads"][workload.name]
        names = [name for name in LINES if name in contenders]
        server, postgres = ([contenders[name][part] for name in names] for part in ("server", "postgres"))
        rows = range(len(names))
        axes.barh(rows, server, color=[LINES[name][0] for name in names], height=0.6)
        axes.barh(rows, postgres, left=server, color=INK, alpha=0.45, height=0.6)
        for row, total in zip(rows, map(sum, zip(server, postgres, strict=True)), strict=True):
            axes.annotate(f"{total:.3f}", (total, row), (4, -3), textcoords="offset points", fontsize=9)
        axes.set_yticks(rows, [name.replace(", ", ",\n") for name in names], fontsize=9)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, 1.25 * max(map(sum, zip(server, postgres, strict=True))))
        axes.grid(visible=False, axis="y")
        axes.set_title(workload.title, loc="left")
    panels[1].set_xlabel("milliseconds of processor time a request; grey: PostgreSQL")


def latency(figure: Figure, reads: Figures) -> None:
    figure.set_size_inches(10, 3.6)
    panels = figure.subplots(1, len(WORKLOADS), sharey=True)
    for axes, workload in zip(panels, WORKLOADS, strict=True):
        for name, (colour, line) in LINES.items():
            if name in reads["workloads"][workload.name]:
                points = reads["workloads"][workload.name][name]["latencies"]
                within, percents = [value for _, value in points], [percent for percent, _ in points]
                axes.plot(within, percents, color=colour, linestyle=line, label=name)
        axes.set_xscale("log")
        axes.set_title(workload.title, loc="left")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    panels[0].set_ylabel("per cent of requests")
    panels[1].set_xlabel(f"answered within milliseconds, {reads['connections']} connections flat out")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)


def growth(figure: Figure, grown: Figures) -> None:
    figure.set_size_inches(10, 3.2)
    sizes = [each["shards"] for each in grown["sizes"]]
    panels = figure.subplots(1, 4)
    for axes, title, values in zip(
        panels,
        ("lookups/s", "ms a lookup", "memory, MB", "start, s"),
        (
            [each["lookups"]["rate"] for each in grown["sizes"]],
            [each["lookups"]["server"] for each in grown["sizes"]],
            [each["memory"] / 1e6 for each in grown["sizes"]],
            [max(each["ready"], each["served"]) for each in grown["sizes"]],
        ),
        strict=True,
    ):
        axes.plot(sizes, values, color=BLUE, marker="o", markersize=5)
        axes.set_xscale("log")
        axes.set_ylim(0, 1.15 * max(values))
        axes.set_title(title, loc="left")
        _sizes(axes)
    figure.supxlabel("shards", fontsize=10, color=INK)


def _sizes(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e3:g}k" if value < 1e6 else f"{value / 1e6:g}M")
    axes.xaxis.set_minor_formatter(NullFormatter())
