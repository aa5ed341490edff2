"""`omnirelay mesh refusals list`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Final, get_args

import click

from graph.cli.changes.shared import filter_input, filter_options, of_tickets
from graph.cli.errors import ApiClient
from graph.cli.listing import Listing, list_options
from graph.cli.output import Column, format_time, listed, print_status
from graph.cli.points_in_time import Time
from graph.client.address import Address
from graph.client.http import rows
from persistence.commands.refusals import Forbidden
from persistence.model.outcomes import IdempotencyKeyReused, Refused


def _why(details: object) -> str:
    """The rules that would have been broken; else what was answered, as JSON."""
    rules = dict.fromkeys(_rules(details))
    return ", ".join(rules) or json.dumps(details, ensure_ascii=False, sort_keys=True)


def _rules(details: object) -> Iterator[str]:
    if isinstance(details, list):
        for item in details:
            yield from _rules(item)
    elif isinstance(details, dict):
        for name, item in details.items():
            if name == "rule" and isinstance(item, str):
                yield item
            else:
                yield from _rules(item)


_COLUMNS: Final = (
    Column("REFUSAL", "id"),
    Column("TIME", "refusedAt", format_time),
    Column("KIND", "kind"),
    Column("OUTCOME", "outcome"),
    Column("NAMESPACES", "namespaces", lambda names: listed(names) or None),
    Column("ACTOR", "actor"),
    Column("TICKET", "changeTicket"),
    Column("REASON", "reason"),
    Column("WHY", "details", _why),
)


_OUTCOMES: Final = sorted(kind.__name__ for kind in (*get_args(Refused), IdempotencyKeyReused, Forbidden))


@click.command("list")
@filter_options
@click.option(
    "--outcome",
    type=click.Choice(_OUTCOMES, case_sensitive=False),
    multiple=True,
    help="Only with this answer, such as PolicyViolation. May be repeated.",
)
@list_options(_COLUMNS, "id")
def list_refusals(
    *,
    namespace: str | None,
    actor: str | None,
    ticket: str | None,
    since: Time | None,
    until: Time | None,
    outcome: tuple[str, ...],
    limit: int,
    server: Address,
    listing: Listing,
) -> None:
    """List changes that were asked for and refused, the newest first.

    With --json JSON Lines: a refusal each, with what was asked for and what was answered.
    """
    where = filter_input(namespace, actor, ticket, since, until)
    with ApiClient(server) as api:
        matching = (
            row
            for row in of_tickets(ticket, rows(api, "ListRefusals", {"filter": where}))
            if not outcome or row["outcome"] in outcome
        )
        found = list(islice(matching, limit))
        more = next(matching, None) is not None
    listing.print(found, "refusal")
    if more:
        print_status(f"These are the newest {limit:,}; for more raise --limit.")
