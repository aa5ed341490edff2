"""What commands for changes and refusals share: which ones, and one line of each."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator
from typing import Final

import click

from graph.cli.options import F
from graph.cli.output import NOTHING, listed, pluralized, printable
from graph.cli.points_in_time import PAST_TIME, TIME, Time, require_order
from graph.client.records import Json

_GLOB: Final = re.compile(r"[*?\[]")

_GLOB_PART: Final = re.compile(r"[*?]|\[.?[^]]*\]|\[")
"""What does not stand for itself; a bracket without an end is left out, too."""

_LONGEST_SEARCH: Final = 128
"""Characters that the server looks for."""


def filter_options(command: F) -> F:
    """--namespace, --actor, --ticket, --since, --until, --limit."""
    command = click.option(
        "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most this many."
    )(command)
    command = click.option("--until", type=TIME, help="Only from before a time, or from before 15m, 2h, 3d ago.")(
        command
    )
    command = click.option("--since", type=PAST_TIME, help="Only since a time, or since 15m, 2h, 3d ago.")(command)
    command = click.option(
        "--ticket", help="Only under this ticket; *, ? and [...] stand for what they do in names of files."
    )(command)
    command = click.option("--actor", help="Only by this actor.")(command)
    return click.option("--namespace", help="Only of this namespace.")(command)


def filter_input(
    namespace: str | None, actor: str | None, ticket: str | None, since: Time | None, until: Time | None
) -> Json:
    """What `ChangeFilter` and `RefusalFilter` have in common. A pattern of tickets is not among it."""
    require_order(since, until)
    return {
        "namespace": namespace,
        "actor": actor,
        "changeTicket": None if ticket is None or _GLOB.search(ticket) else ticket,
        "since": None if since is None else str(since),
        "until": None if until is None else str(until),
    }


def literal_part(ticket: str | None) -> str | None:
    """The longest part of a pattern that stands for itself: whatever the pattern matches contains it. Null without."""
    if ticket is None or not _GLOB.search(ticket):
        return None
    return max(_GLOB_PART.split(ticket), key=len)[:_LONGEST_SEARCH] or None


def of_tickets(ticket: str | None, rows: Iterable[Json]) -> Iterator[Json]:
    """Those under a ticket that the pattern matches, case and all; all, if it is none."""
    if ticket is None or not _GLOB.search(ticket):
        yield from rows
    else:
        yield from (row for row in rows if fnmatch.fnmatchcase(row["changeTicket"] or "", ticket))


def about(change: Json) -> str:
    """What a change was about: `node node-1`, `orders: 3 shards, revision 5 to 7`, `plan d85a3ee8: orders`."""
    subjects = []
    if rebalance := change["rebalance"]:
        subjects.append(f"plan {rebalance['planId'][:8]}")
    configuration = change["configuration"]
    if configuration and configuration["nodeId"]:
        subjects.append(f"node {printable(configuration['nodeId'])}")
    subjects += [listed([printable(name) for name in change["namespaces"]])] if change["namespaces"] else []
    subject = ": ".join(subjects) or NOTHING
    return f"{subject}, {pluralized(change['shardCount'], 'shard')}" if change["shardCount"] else subject
