"""Who changed something, when and why, in a few words."""

from graph.cli.output import Json
from graph.cli.text import NOTHING, shown, shown_percent, shown_time


def made_by(change: Json | None) -> str:
    """`alice at 2026-01-31T09:30:00Z (CHG-42: hot shard)`; `-` if nobody did."""
    if change is None:
        return NOTHING
    ticket = f"{shown(change['changeTicket'])}: " if change["changeTicket"] else ""
    return f"{shown(change['actor'])} at {shown_time(change['committedAt'])} ({ticket}{shown(change['reason'])})"


def moved_percent(change: Json) -> str | None:
    """What part of its namespaces' shards a rebalance moved; null for other changes."""
    rebalance = change["rebalance"]
    return None if rebalance is None else shown_percent(rebalance["diffPercent"])
