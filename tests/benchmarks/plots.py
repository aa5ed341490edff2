"""`make plots`: the pictures of docs/strategies.md. Drawn again, they are the same files, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from tests.benchmarks import costs, plot_data
from tests.benchmarks.side_by_side import Moves
from tests.benchmarks.timing import duration

FOLDER: Final = Path(__file__).parents[2] / "docs" / "images"

# Read on white and on black paper alike: a transparent ground, and colours of middling lightness, near to Okabe and
# Ito's, which those who are colour-blind can tell apart too.
INK: Final = "#6e7681"
BLUE: Final = "#3b8ec8"
ORANGE: Final = "#d9822b"
GREEN: Final = "#12a17a"
STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "omnirelay",
    "svg.fonttype": "path",
    "font.size": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.25,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "savefig.transparent": True,
}
LINES: Final = {
    "rendezvous": (BLUE, "-", "o"),
    "rendezvous, different weights": (BLUE, "--", "s"),
    "ring": (GREEN, "-", "^"),
    "maglev": ("#c46fa0", "-", "D"),
    "jump": (ORANGE, "-", "v"),
    "uhashring": (INK, ":", "x"),
}
POINTS: Final = (10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 4_096)


def main() -> None:
    for name, draw in (("balance", balance), ("movement", movement), ("cost", cost)):
        with picture(f"strategies-{name}.svg") as figure:
            draw(figure)


@contextmanager
def picture(name: str) -> Iterator[Figure]:
    with mpl.rc_context(dict(mpl.rcParamsDefault) | STYLE):
        figure = Figure(layout="constrained")
        FigureCanvasSVG(figure)
        yield figure
        # Dates and versions would make each drawing another file.
        figure.savefig(FOLDER / name, metadata={"Date": None, "Creator": None})


def balance(figure: Figure) -> None:
    figure.set_size_inches(10, 4)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _loads(left)
    _deviations(right)


def _loads(axes: Axes) -> None:
    loads = plot_data.loads()
    random = Random(1)
    for row, load in enumerate(loads.values()):
        heights = [row + random.uniform(-0.25, 0.25) for _ in load]
        axes.plot([min(load), max(load)], [row, row], color=INK, linewidth=1)
        axes.plot(load, heights, "o", color=BLUE, markersize=3, alpha=0.55, markeredgewidth=0)
        axes.annotate(f"{max(load):.0f} %", (max(load), row), (6, -3), textcoords="offset points", fontsize=9)
    axes.axvline(100, color=ORANGE, linewidth=1)
    axes.set_yticks(range(len(loads)), list(loads))
    axes.set_ylim(len(loads) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("shards of a node, per cent of the mean")
    axes.set_title(f"{plot_data.SHARDS:,} shards on {plot_data.LOAD_NODES} equal nodes, a dot for each", loc="left")


def _deviations(axes: Axes) -> None:
    found = plot_data.ring_deviations(POINTS)
    floor = (plot_data.RING_NODES / plot_data.SHARDS) ** 0.5
    axes.loglog(POINTS, [100 * plot_data.ring_theory(points) for points in POINTS], color=INK, label="√(1/v + n/N)")
    axes.loglog(POINTS, [100 * each for each in found], "o", color=GREEN, label=f"ring, {plot_data.RINGS} of them")
    axes.axhline(100 * floor, color=BLUE, linestyle="--", label="rendezvous: counting alone, √(n/N)")
    ticks = (10, 40, 160, 640, 2_560)
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    _plain(axes, "y", (2, 5, 10, 20, 30), "{:.0f} %")
    axes.set_xlabel("virtualNodes (v)")
    axes.set_title(f"Deviation from the mean, {plot_data.RING_NODES} nodes", loc="left")
    axes.legend(loc="upper right")


def movement(figure: Figure) -> None:
    events = plot_data.moves()
    figure.set_size_inches(10, 4)
    panels = figure.subplots(1, len(events), sharey=True)
    for axes, (event, moves) in zip(panels, events.items(), strict=True):
        _dumbbells(axes, moves)
        axes.set_title(event.replace("\n", " "), loc="left")
    panels[0].set_yticks(range(len(plot_data.MOVES)), [each.label for each in plot_data.MOVES])
    panels[0].set_ylim(len(plot_data.MOVES) - 0.5, -0.5)
    panels[1].set_xlabel(f"per cent of {plot_data.SHARDS:,} shards on {plot_data.MOVE_NODES} equal nodes", labelpad=8)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)


def _dumbbells(axes: Axes, moves: Mapping[str, Moves]) -> None:
    rows = range(len(moves))
    needed = [100 * (each.moved - each.astray) for each in moves.values()]
    moved = [100 * each.moved for each in moves.values()]
    axes.hlines(rows, needed, moved, color=ORANGE, linewidth=2)
    axes.plot(moved, rows, "o", color=ORANGE, markersize=8, label="moved")
    axes.plot(needed, rows, "o", color=BLUE, markersize=5, label="moved to or from the node that changed")
    for row, (total, least) in enumerate(zip(moved, needed, strict=True)):
        far = total > 10 * least  # beside it there would be no room
        axes.annotate(
            f"{total:.0f} %" if far else f"{total:.2f} %",
            (total, row),
            (0, 8) if far else (10, -3),
            textcoords="offset points",
            fontsize=9,
            ha="center" if far else "left",
            weight="bold" if total > 1.001 * least else "normal",
        )
    axes.set_xscale("log")
    axes.set_xlim(1, 100)
    axes.grid(visible=False, axis="y")
    _plain(axes, "x", (1, 10, 100), "{:.0f}")


def cost(figure: Figure) -> None:
    document = json.loads(costs.FILE.read_text("utf-8"))
    nodes, scale = document["nodes"], 1_000_000 / document["shards"]
    figure.set_size_inches(10, 4)
    panels = figure.subplots(1, 3)
    for name, rows in document["costs"].items():
        colour, line, marker = LINES[name]
        for axes, what in zip(panels, ("lookup", "assign", "build"), strict=True):
            factor = scale if what == "assign" else 1.0
            axes.loglog(
                nodes,
                [factor * row[what] for row in rows],
                color=colour,
                linestyle=line,
                marker=marker,
                markersize=5,
                label=name,
            )
    panels[1].set_ylim(0.1, 10)
    for axes, title in zip(panels, ("one lookup", "1,000,000 shards assigned", "build"), strict=True):
        axes.set_title(title, loc="left")
        axes.set_xlabel("nodes")
        _plain(axes, "x", (10, 100, 1_000), "{:,.0f}")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: duration(seconds)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))


def _plain(axes: Axes, axis: str, ticks: tuple[float, ...], form: str) -> None:
    """Numbers as people write them on a logarithmic axis."""
    which = axes.xaxis if axis == "x" else axes.yaxis
    which.set_ticks(ticks, [form.format(tick) for tick in ticks])
    which.set_minor_formatter(NullFormatter())


if __name__ == "__main__":
    main()
