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
from graph.client.records import Json
from persistence.commands.refusals import Forbidden
from persistence.model.outcomes import IdempotencyKeyReused, Refused

_LISTED: Final = 3
"""Names in a sentence."""


def why_refused(refusal: Json) -> str:
    """The rules that would have been broken, or a sentence, from the bounded answer that is stored. An answer of a kind
    that this program does not know is written as JSON."""
    details = refusal["details"]
    try:
        if "omittedCharacters" in details:
            return f"{details['omittedCharacters']:,} characters of what was in the way were too many to be stored"
        return _sentence(refusal, details)
    except (KeyError, TypeError, IndexError, ValueError):
        return json.dumps(details, ensure_ascii=False, sort_keys=True)


def _sentence(refusal: Json, details: Json) -> str:  # noqa: C901, PLR0911 - one answer for each kind
    """Raises what a mapping does where `details` are of another form."""
    match refusal["outcome"]:
        case "PolicyViolation":
            return ", ".join(dict.fromkeys(violation["rule"] for violation in details["violations"]))
        case "VersionConflict":
            return _first(list(map(_stale_shard, details["stale"])), details.get("staleCount"))
        case "StaleNamespace":
            return _stale("namespace", details["name"], details)
        case "StaleNode":
            return _stale("node", details["nodeId"], details)
        case "NodeInUse":
            return f"node {refusal['request'].get('nodeId', 'it named')} still owned or led shards"
        case "PlanClosed":
            status = details["plan"].get("status")
            return f"plan {details['plan']['id']} {'was closed' if status is None else f'was {status}'}"
        case "StalePlan":
            return f"plan {details['plan']['id']} did not fit any more: {_first(*_stale_planned(details))}"
        case "NotFound":
            return "; ".join(_missing(details)) or "what it named was not there"
        case "IdempotencyKeyReused":
            return f"idempotency key {details['key']} belonged to another request, which became {_change(details)}"
        case "Forbidden":
            return f"the caller's token did not have the scope {details['scope']}"
    raise KeyError(refusal["outcome"])


def _stale_shard(stale: Json) -> str:
    return _stale("shard", f"{stale['key']['namespace']}/{stale['key']['shardId']}", stale)


def _stale(what: str, name: str, stale: Json) -> str:
    """`lastChange` is the newest change of it, where that was found."""
    expected, actual = stale["expected"], stale["actual"]
    by = f", since {_change(stale, 'lastChange')}" if stale.get("lastChange") else ""
    if actual == 0:
        return f"{what} {name} was not there, so not at version {expected}{by}"
    if expected == 0:
        return f"{what} {name} was there already, at version {actual}{by}"
    return f"{what} {name} was at version {actual}, not {expected}{by}"


def _change(details: Json, member: str = "change") -> str:
    return f"change {details[member]['id']}"


def _stale_planned(details: Json) -> tuple[list[str], int]:
    """What the plan relied on, and how much there is of it."""
    kinds = (("namespace", "namespaceConflicts"), ("node", "nodeConflicts"))
    sentences = list(map(_stale_shard, details["shards"]))
    sentences += [_stale(what, one["name"], one) for what, member in kinds for one in details[member]]
    members = ("shards", "namespaceConflicts", "nodeConflicts")
    return sentences, sum(details.get(f"{member}Count", len(details[member])) for member in members)


def _first(sentences: list[str], count: int | None) -> str:
    more = (count or len(sentences)) - 1
    return sentences[0] + (f" (and {more:,} more)" if more > 0 else "")


def _missing(details: Json) -> Iterator[str]:
    for member in ("namespaces", "nodes", "plans", "changes"):
        if names := details[member]:
            yield f"there was no {member.removesuffix('s')} {_listed(names, details.get(f'{member}Count'))}"
    if shards := details["shards"]:
        names = [f"{key['namespace']}/{key['shardId']}" for key in shards]
        yield f"there was no shard {_listed(names, details.get('shardsCount'))}"


def _listed(names: list[str], count: int | None) -> str:
    more = (count or len(names)) - len(names[:_LISTED])
    return ", ".join(names[:_LISTED]) + (f" (and {more:,} more)" if more > 0 else "")


_COLUMNS: Final = (
    Column("REFUSAL", "id"),
    Column("TIME", "refusedAt", format_time),
    Column("KIND", "kind"),
    Column("OUTCOME", "outcome"),
    Column("NAMESPACES", "namespaces", lambda names: listed(names) or None),
    Column("ACTOR", "actor"),
    Column("TICKET", "changeTicket"),
    Column("REASON", "reason"),
    Column("WHY", why_refused),
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
