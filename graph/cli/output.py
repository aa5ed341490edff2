"""Data for programs on stdout, words for people on stderr.

Text from the store as it may stand on a terminal.

Who changed something, when and why, in a few words.
"""

import json
from datetime import datetime
from typing import Final

import click

from graph.client.records import Json


def print_json(document: object) -> None:
    """A line of JSON Lines, or the one document there is. Flushed: whoever reads it may be waiting for it."""
    click.echo(json.dumps(document, ensure_ascii=False, separators=(",", ":")))


def print_status(message: str) -> None:
    click.echo(message, err=True)


NOTHING: Final = "-"


def printable(value: object) -> str:
    """One line, whatever it is: free text may hold line breaks and escape sequences, and a terminal obeys those."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:.15g}"
    text = str(value)
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def shown_time(value: str | None) -> str:
    """A time of the API, to the second: 2026-01-31T09:30:00Z."""
    if value is None:
        return NOTHING
    return datetime.fromisoformat(value).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def shown_percent(value: float) -> str:
    """Three digits: 0.195 %, 33.3 %."""
    return f"{value:.3g} %"


def arrow(before: object, after: object) -> str:
    """`3 -> 5`, or the one value it had before and after."""
    return printable(after) if before == after else f"{printable(before)} -> {printable(after)}"


def listed(values: list[str], limit: int = 3) -> str:
    """The first few, and how many more there are."""
    rest = len(values) - limit
    return ", ".join(values[:limit]) + (f" (and {rest:,} more)" if rest > 0 else "")


def pluralized(number: int, thing: str) -> str:
    """1 shard, 2 shards."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def made_by(change: Json | None) -> str:
    """`alice at 2026-01-31T09:30:00Z (CHG-42: hot shard)`; `-` if nobody did."""
    if change is None:
        return NOTHING
    ticket = f"{printable(change['changeTicket'])}: " if change["changeTicket"] else ""
    return (
        f"{printable(change['actor'])} at {shown_time(change['committedAt'])} ({ticket}{printable(change['reason'])})"
    )


def moved_percent(change: Json) -> str | None:
    """What part of its namespaces' shards a rebalance moved; null for other changes."""
    rebalance = change["rebalance"]
    return None if rebalance is None else shown_percent(rebalance["diffPercent"])
