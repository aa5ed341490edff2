"""What every node owns before and after, with a bar to compare them by."""

from collections.abc import Sequence
from typing import Final

from graph.cli.plans.rows import LISTED, print_rest
from graph.cli.tables import print_table
from graph.cli.text import arrow
from persistence.planning.proposal import NodeLoad

_COLUMNS: Final = ("NODE", "SHARDS", "CAPACITY", "LOAD (= kept, + gained, - lost)")
_WIDTH: Final = 30


def print_loads(loads: Sequence[NodeLoad], *, everything: bool) -> None:
    """By node. Where they are too many to read, those whose load changes most."""
    shown = loads if everything else _most_changed(loads)
    largest = max(max(load.shards_before, load.shards_after) for load in loads)
    print_table(_COLUMNS, [_cells(load, largest) for load in shown])
    print_rest(len(loads) - len(shown), " nodes, whose loads change less")


def bar(before: int, after: int, largest: int) -> str:
    """What stays, and then what is gained or lost; as wide as the largest load of all is long."""
    if before == after == 0:
        return ""
    whole = max(1, round(_WIDTH * max(before, after) / largest))
    kept = round(_WIDTH * min(before, after) / largest)
    if before != after:
        # A change is seen, however small it is.
        kept = min(kept, whole - 1)
    return "=" * kept + ("+" if after > before else "-") * (whole - kept)


def _most_changed(loads: Sequence[NodeLoad]) -> Sequence[NodeLoad]:
    ranked = sorted(loads, key=lambda load: (-abs(load.shards_after - load.shards_before), load.node_id))
    return sorted(ranked[:LISTED], key=lambda load: load.node_id)


def _cells(load: NodeLoad, largest: int) -> tuple[object, ...]:
    return (
        load.node_id,
        arrow(load.shards_before, load.shards_after),
        arrow(load.capacity_before, load.capacity_after),
        bar(load.shards_before, load.shards_after, largest),
    )
