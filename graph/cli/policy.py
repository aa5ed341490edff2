"""`omnirelay mesh policy`: show a namespace's policy, and set fields of it; and how one is changed.

The API takes a policy as a whole. What a command does not name is sent back as it was read, at the version it was read
at; where that has become stale, it is read and changed anew.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypedDict, cast

import click

from graph.cli.errors import ApiClient, Exit, Failure, committed
from graph.cli.lookups import read_namespace
from graph.cli.options import F, change_input, change_options, server_options
from graph.cli.output import Field, format_time, print_fields, print_json, print_table, printable
from graph.cli.points_in_time import DEADLINE, Time
from graph.client.address import Address
from graph.client.records import Json
from persistence.model.records import MAX_COUNTER, public_name

_ATTEMPTS: Final = 5
"""At a namespace that others keep configuring."""

_CHANGED: Final = ("FIELD", "BEFORE", "AFTER")


@click.group()
def policy() -> None:
    """What changes of a namespace's shards must keep to."""


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """Of a namespace's policy. `change` is null where there was nothing to do; `version` is that of the configuration
    afterwards."""

    name: str
    before: Json
    after: Json
    version: str
    change: Json | None

    @property
    def document(self) -> Json:
        """As JSON."""
        fields = {
            field: {"before": before, "after": after}
            for field, (before, after) in changed_fields(self.before, self.after).items()
        }
        action = "unchanged" if self.change is None else "updated"
        return {
            "name": self.name,
            "action": action,
            "version": self.version,
            "fields": fields,
            "policy": self.after,
            "change": self.change,
        }


def change_policy(
    api: ApiClient, name: str, revise: Callable[[Json], Json], change: Json, expected_version: int | None = None
) -> PolicyChange:
    """Have the policy of a namespace be what `revise` makes of the one it has; nothing is sent where that is the same.

    A version conflict is tried again, unless `expected_version` is given. Raises Failure.
    """
    for attempt in range(_ATTEMPTS):
        namespace = read_namespace(api, name)
        before = namespace["policy"]
        after = revise(before)
        if after == before and str(expected_version or namespace["version"]) == namespace["version"]:
            return PolicyChange(name, before, after, namespace["version"], None)
        given = {
            "name": name,
            "strategy": namespace["strategy"],
            "strategyParameters": namespace["strategyParameters"],
            "policy": after,
            "expectedVersion": namespace["version"] if expected_version is None else str(expected_version),
            "change": change,
        }
        answer = api.change("ConfigureNamespace", given)
        stale = answer["__typename"] == "NamespaceVersionConflict"
        if stale and expected_version is None and attempt < _ATTEMPTS - 1:
            continue
        done = committed(answer, _what_it_is(name) if stale else ())
        return PolicyChange(name, before, done["namespace"]["policy"], done["namespace"]["version"], done["change"])
    raise AssertionError  # the last attempt returns or raises


def _what_it_is(name: str) -> list[str]:
    return [f"What it is now: omnirelay mesh policy show {name}"]


def changed_fields(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """By field, with the value before and after."""
    return {field: (before.get(field), value) for field, value in after.items() if before.get(field) != value}


def policy_value(value: object) -> str:
    """A field of a policy for people: `yes`, `10`, `-`; freezes as `2026-01-31T09:30:00Z to ... (release night)`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "; ".join(map(freeze_text, value)) or "none"
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True)
    return printable(value)


def freeze_text(freeze: Any) -> str:
    """Of one window, or of a recurring freeze by its fields."""
    if isinstance(freeze, dict) and freeze.keys() == {"begins", "ends", "reason"}:
        return f"{format_time(freeze['begins'])} to {format_time(freeze['ends'])} ({printable(freeze['reason'])})"
    if isinstance(freeze, dict) and freeze.keys() >= {"schedule", "duration", "timeZone", "reason"}:
        until = f", until {format_time(freeze['until'])}" if freeze.get("until") else ""
        when = f"{freeze['schedule']} for {freeze['duration']} in {freeze['timeZone']}{until}"
        return f"{printable(when)} ({printable(freeze['reason'])})"
    return json.dumps(freeze, ensure_ascii=True, sort_keys=True)


def policy_fields(document: Mapping[str, object]) -> list[Field]:
    return [(field, policy_value(value)) for field, value in document.items()]


@policy.command("show")
@click.argument("namespace")
@server_options
def show_policy(*, namespace: str, server: Address, as_json: bool) -> None:
    """Show a namespace's policy, field by field in the words of the API, and the version of its configuration.

    With --json one document: name, version and policy.
    """
    with ApiClient(server) as api:
        found = read_namespace(api, namespace)
    if as_json:
        print_json({"name": found["name"], "version": found["version"], "policy": found["policy"]})
        return
    print_fields([("namespace", found["name"]), ("version", found["version"]), *policy_fields(found["policy"])])


class FreezeOptions(TypedDict):
    """The values of `_freeze_options`."""

    schedule: str | None
    duration: str | None
    time_zone: str | None
    until: Time | None
    endless: bool
    freeze_reason: str | None
    gone: tuple[str, ...]


def _freeze_options(command: F) -> F:
    """Of one freeze that comes again, by its schedule; and of those that shall not any more."""
    command = click.option(
        "--no-freeze-every",
        "gone",
        metavar="CRON",
        multiple=True,
        help="Freeze no more on this schedule, in any zone. May be repeated.",
    )(command)
    command = click.option("--freeze-reason", metavar="TEXT", help="Why it freezes; of a new one by default --reason.")(
        command
    )
    command = click.option("--no-freeze-until", "endless", is_flag=True, help="It comes again for good.")(command)
    command = click.option("--freeze-until", "until", type=DEADLINE, help="It does not begin any more from then on.")(
        command
    )
    command = click.option("--freeze-zone", "time_zone", metavar="ZONE", help="In which time zone, as Europe/Berlin.")(
        command
    )
    command = click.option("--freeze-for", "duration", metavar="DURATION", help="For how long, as PT8H or P2DT14H.")(
        command
    )
    return click.option(
        "--freeze-every",
        "schedule",
        metavar="CRON",
        help="Freeze again and again: five fields of cron, such as '0 18 * * fri'.",
    )(command)


@policy.command("set")
@click.argument("namespace")
@click.option("--ticket-required/--no-ticket-required", default=None, help="Whether changes of shards need a ticket.")
@click.option("--ticket-pattern", metavar="PATTERN", help="What must match every ticket, in RE2 syntax.")
@click.option("--no-ticket-pattern", is_flag=True, help="Any ticket will do.")
@click.option(
    "--approval-required/--no-approval-required",
    default=None,
    help="Whether a plan is applied only after another actor than its submitter approved it.",
)
@click.option(
    "--move-budget-percent",
    metavar="PERCENT",
    type=float,
    help="The share of the shards that one change may move, more than 0 and at most 100.",
)
@click.option(
    "--window-seconds", metavar="SECONDS", type=int, help="The length of the windows in which moves are counted."
)
@click.option("--window-moves", metavar="N", type=int, help="How many moves the namespace may see in any window.")
@click.option("--no-window-moves", is_flag=True, help="Any number of moves of the namespace.")
@click.option("--shard-window-moves", metavar="N", type=int, help="How many moves one shard may see in any window.")
@click.option("--no-shard-window-moves", is_flag=True, help="Any number of moves of one shard.")
@click.option(
    "--involuntary-moves-limited/--no-involuntary-moves-limited",
    default=None,
    help="Whether budget, windows and freezes hold up moves off nodes that are down or removed, too.",
)
@click.option(
    "--owners-must-be-registered/--no-owners-must-be-registered",
    default=None,
    help="Whether shards are given no owner and no leader that is not a registered node.",
)
@_freeze_options
@click.option(
    "--expected-version",
    type=click.IntRange(1, MAX_COUNTER),
    help="The version you have seen. By default the one it is at.",
)
@change_options
@server_options
def set_policy(
    *,
    namespace: str,
    expected_version: int | None,
    reason: str,
    ticket: str | None,
    actor: str | None,
    server: Address,
    as_json: bool,
    **fields: object,
) -> None:
    """Set fields of a namespace's policy. What is not named stays as it is. Freezes of once are set by `freeze` and
    `thaw`.

    With --freeze-every the freeze that comes again on this schedule is changed in what is named beside it; one that
    there is not yet is added. Prints what has changed, field by field. No shard moves.

    With --json one document: name, action (updated, unchanged), version, fields, policy and change.
    """
    freezes = {name: fields.pop(name) for name in FreezeOptions.__annotations__}
    given = cast("FreezeOptions", freezes)
    patch = _patch(fields, edits_freezes=_edits(given))
    change = change_input(reason, ticket, actor)

    def revise(before: Json) -> Json:
        recurring = _recurring(before["recurringFreezes"], given, reason) if _edits(given) else None
        return before | patch | ({} if recurring is None else {"recurringFreezes": recurring})

    with ApiClient(server) as api:
        done = change_policy(api, namespace, revise, change, expected_version)
    if as_json:
        print_json(done.document)
        return
    differences = changed_fields(done.before, done.after)
    if differences:
        rows = [(field, *(policy_value(value) for value in both)) for field, both in differences.items()]
        print_table(_CHANGED, rows)
    if done.change is None:
        click.echo(f"{printable(done.name)} is as it shall be, at version {done.version}: nothing was changed.")
    else:
        click.echo(f"{printable(done.name)} is at version {done.version} now, change {done.change['id']}.")


def _patch(fields: Mapping[str, object], *, edits_freezes: bool) -> Json:
    """The fields of the API that options name. `no_` before a name clears it."""
    named = {name: value for name, value in fields.items() if not name.startswith("no_") and value is not None}
    cleared = [name.removeprefix("no_") for name, value in fields.items() if name.startswith("no_") and value]
    if named.keys() & set(cleared):
        raise click.UsageError("Give a value or take it away, not both.")
    patch = {public_name(name): value for name, value in named.items()} | {public_name(name): None for name in cleared}
    if not patch and not edits_freezes:
        raise click.UsageError("Nothing to change: name a field of the policy, such as --move-budget-percent.")
    return patch


def _edits(given: FreezeOptions) -> bool:
    """Whether freezes are to be changed. Raises UsageError for what is said of one without saying which."""
    of_one = ("duration", "time_zone", "until", "freeze_reason")
    if given["schedule"] is None and (given["endless"] or any(given[name] is not None for name in of_one)):  # type: ignore[literal-required]
        raise click.UsageError("Say with --freeze-every which freeze that is for.")
    if given["endless"] and given["until"] is not None:
        raise click.UsageError("Give a value or take it away, not both.")
    return given["schedule"] is not None or bool(given["gone"])


def _recurring(there: Sequence[Json], given: FreezeOptions, reason: str) -> Sequence[Json]:
    """The freezes that come again, as they shall be. Raises Failure for a schedule that none has, or several have."""
    for schedule in given["gone"]:
        if not any(_is_on(each, schedule) for each in there):
            raise _no_freeze(schedule, there)
    left = [each for each in there if not any(_is_on(each, schedule) for schedule in given["gone"])]
    if given["schedule"] is None:
        return left
    zone = given["time_zone"]
    found = [each for each in left if _is_on(each, given["schedule"]) and zone in (None, each["timeZone"])]
    if len(found) > 1:
        zones = ", ".join(printable(each["timeZone"]) for each in found)
        message = f"{len(found)} freezes come again on {printable(given['schedule'])}: say --freeze-zone, of {zones}."
        raise Failure(Exit.INVALID, message)
    if not found and (given["duration"] is None or zone is None):
        message = f"No freeze comes again on {printable(given['schedule'])} yet: a new one takes its length and zone."
        raise Failure(Exit.INVALID, message, ["Say them with --freeze-for and --freeze-zone.", *_listed(there)])
    before = found[0] if found else {"schedule": given["schedule"], "reason": reason, "until": None}
    named = {"duration": given["duration"], "timeZone": zone, "reason": given["freeze_reason"]}
    after = before | {name: value for name, value in named.items() if value is not None}
    after["until"] = None if given["endless"] else _same_time(before["until"], given["until"])
    return [after if each is before else each for each in left] + ([] if found else [after])


def _is_on(freeze: Json, schedule: str) -> bool:
    """Blanks and the case of names make no difference."""
    return bool(freeze["schedule"].casefold().split() == schedule.casefold().split())


def _same_time(before: str | None, given: Time | None) -> str | None:
    """As it is written already, where that is the same time."""
    if given is None or (before is not None and datetime.fromisoformat(before) == given.at):
        return before
    return str(given)


def _no_freeze(schedule: str, there: Sequence[Json]) -> Failure:
    return Failure(Exit.NOT_FOUND, f"No freeze comes again on {printable(schedule)}.", _listed(there))


def _listed(there: Sequence[Json]) -> list[str]:
    return [f"There is {freeze_text(each)}." for each in there]
