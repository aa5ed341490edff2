"""`omnirelay mesh freeze` and `thaw`: times in which the shards of namespaces may not be changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import click

from graph.cli.errors import ApiClient, Exit, Failure
from graph.cli.lookups import unknown_namespace
from graph.cli.options import F, change_input, change_options, optional_change_options, server_options
from graph.cli.output import Column, format_time, print_documents, print_json, print_status, printable
from graph.cli.points_in_time import DEADLINE, Time
from graph.cli.policy import PolicyChange, change_policy
from graph.client.address import Address
from graph.client.http import rows
from graph.client.records import Json

_FREEZES: Final = (
    Column("NAMESPACE", "namespace"),
    Column("FROZEN", "state"),
    Column("FROM", "begins", format_time),
    Column("UNTIL", "ends", format_time),
    Column("REASON", "reason"),
)

_OF_ONE: Final = (Exit.REFUSED, Exit.DENIED, Exit.INVALID, Exit.NOT_FOUND)
"""What is wrong with one namespace: the others are changed all the same."""


_OBSOLETE: Final = timedelta(days=1)
"""After its end a freeze makes room for a new one: a policy has a bounded number of them. Clocks may differ."""

NOW: Final = "now"

LATER: Final = "later"

_THAWED: Final = "thawed"


def in_force(freeze: Mapping[str, str], now: datetime) -> bool:
    """From its beginning, included, to its end, excluded."""
    return _time(freeze["begins"]) <= now < _time(freeze["ends"])


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _namespace_arguments(command: F) -> F:
    """[NAMESPACE]... or --all."""
    command = click.option("--all", "everything", is_flag=True, help="Every namespace there is.")(command)
    return click.argument("namespaces", metavar="[NAMESPACE]...", nargs=-1)(command)


@click.command("freeze")
@_namespace_arguments
@click.option("--until", type=DEADLINE, help="When the freeze ends: a time, or 15m, 2h, 3d from now.")
@click.option("--from", "begin", type=DEADLINE, help="When it begins: a time, or 15m, 2h, 3d from now. By default now.")
@click.option("--every", metavar="CRON", help="Freeze again and again: five fields of cron, such as '0 18 * * fri'.")
@click.option("--for", "duration", metavar="DURATION", help="With --every: for how long, such as PT8H or P2DT14H.")
@click.option("--zone", metavar="ZONE", help="With --every: its time zone, such as Europe/Berlin.")
@optional_change_options
@server_options
def freeze(
    *,
    namespaces: tuple[str, ...],
    everything: bool,
    until: Time | None,
    begin: Time | None,
    every: str | None,
    duration: str | None,
    zone: str | None,
    reason: str | None,
    ticket: str | None,
    actor: str | None,
    server: Address,
    as_json: bool,
) -> None:
    """Freeze namespaces: until the freeze ends, changes of their shards are refused. One change a namespace.

    A namespace that is frozen from then until then already stays as it is. The reason of the change is that of the
    freeze. With --every it begins again and again, until --until or for good. Without a namespace: show what is frozen,
    now and later.

    With --json JSON Lines: a namespace each, with name, action, version and freezes; or with name, the action refused,
    and refusal.
    """
    if every is None and (duration is not None or zone is not None):
        raise click.UsageError("--for and --zone are for --every.")
    now = datetime.now(UTC)
    if not (namespaces or everything or until or begin or every or reason):
        _show(server, now, as_json=as_json)
        return
    _require_one(namespaces, everything=everything)
    if reason is None or (until is None and every is None):
        raise click.UsageError("Say until when, and why: --until and --reason.")
    revise = _once(until, begin, reason, now) if every is None else _again(every, duration, zone, until, begin, reason)
    _change(server, namespaces, revise, change_input(reason, ticket, actor), now, "frozen", as_json=as_json)


def _require_one(namespaces: Sequence[str], *, everything: bool) -> None:
    if bool(namespaces) == everything:
        raise click.UsageError("Say which: namespaces, or --all.")


def _again(
    every: str, duration: str | None, zone: str | None, until: Time | None, begin: Time | None, reason: str
) -> Callable[[Json], Json]:
    """What has a policy freeze again and again, if it does not so already."""
    if duration is None or zone is None or begin is not None:
        raise click.UsageError("--every takes --for and --zone, and no --from.")
    end = None if until is None else str(until)
    recurring = {"schedule": every, "duration": duration, "timeZone": zone, "reason": reason, "until": end}

    def revise(policy: Json) -> Json:
        there = policy["recurringFreezes"]
        if any(_is_same(each, recurring) for each in there):
            return policy
        return policy | {"recurringFreezes": [*there, recurring]}

    return revise


def _once(until: Time | None, begin: Time | None, reason: str, now: datetime) -> Callable[[Json], Json]:
    """What has a policy freeze for this time, if it does not so already."""
    window = {"begins": str(begin or Time(now)), "ends": str(until), "reason": reason}
    if _time(window["ends"]) <= max(now, _time(window["begins"])):
        raise click.UsageError("--until is not later than now, or than --from.")

    def revise(policy: Json) -> Json:
        if any(_covers(there, window) for there in policy["freezes"]):
            return policy
        kept = [there for there in policy["freezes"] if _time(there["ends"]) + _OBSOLETE > now]
        return policy | {"freezes": [*kept, window]}

    return revise


@click.command("thaw")
@_namespace_arguments
@click.option("--recurring", is_flag=True, help="End the freezes that come again, too, for good.")
@change_options
@server_options
def thaw(
    *,
    namespaces: tuple[str, ...],
    everything: bool,
    recurring: bool,
    reason: str,
    ticket: str | None,
    actor: str | None,
    server: Address,
    as_json: bool,
) -> None:
    """End the freezes that namespaces are under now. Those that begin later, or again, stay. One change a namespace.

    With --json JSON Lines: a namespace each, with name, action, version and freezes; or with name, the action refused,
    and refusal.
    """
    _require_one(namespaces, everything=everything)
    now = datetime.now(UTC)

    def revise(policy: Json) -> Json:
        left = {"freezes": [there for there in policy["freezes"] if not in_force(there, now)]}
        return policy | left | ({"recurringFreezes": []} if recurring else {})

    _change(server, namespaces, revise, change_input(reason, ticket, actor), now, _THAWED, as_json=as_json)


def _is_same(one: Json, other: Json) -> bool:
    """The same time may be written in several ways."""
    first, second = (each["until"] and _time(each["until"]) for each in (one, other))
    return bool(one | {"until": None} == other | {"until": None} and first == second)


def _covers(there: Mapping[str, str], window: Mapping[str, str]) -> bool:
    """Whether shards are frozen by the one whenever they would be by the other."""
    return _time(there["begins"]) <= _time(window["begins"]) and _time(window["ends"]) <= _time(there["ends"])


def _change(
    server: Address,
    names: Sequence[str],
    revise: Callable[[Json], Json],
    change: Json,
    now: datetime,
    action: str,
    *,
    as_json: bool,
) -> None:
    """Of all namespaces if none is named. One that is refused does not keep the others from being changed; it is
    reported at once, and its exit code is that of the command. Raises Failure."""
    failed: list[Failure] = []
    left: list[Json] = []
    with ApiClient(server) as api:
        for name in _existing(api, names):
            try:
                done = change_policy(api, name, revise, change)
            except Failure as failure:
                if failure.exit not in _OF_ONE:
                    raise
                print_status(f"{printable(name)}: {_as_typed(failure.message)}")
                if as_json:
                    print_json({"name": name, "action": "refused", "refusal": failure.as_json()})
                failed.append(failure)
                continue
            left += _freezes(done.name, done.after["freezes"], now)
            _report(done, action, now, as_json=as_json)
        if action == _THAWED:
            _warn_of_recurring(api, _existing(api, names), now)
    if left and not as_json:
        click.echo()
        print_documents(_FREEZES, left)
    if failed:
        advice = [_as_typed(line) for line in failed[0].advice]
        raise Failure(failed[0].exit, f"Not all were {action}: see above.", advice, is_written=True)


_FIELD: Final = re.compile(r"policy\.recurringFreezes\[\d+\]\.(schedule|duration|timeZone|until|reason)")

_OPTIONS: Final = {
    "schedule": "--every",
    "duration": "--for",
    "timeZone": "--zone",
    "until": "--until",
    "reason": "--reason",
}


def _as_typed(message: str) -> str:
    """With options in place of the fields of the API."""
    return _FIELD.sub(lambda field: _OPTIONS[field[1]], message)


def _existing(api: ApiClient, names: Sequence[str]) -> Sequence[str]:
    """The names, once each. Raises Failure, before anything is changed, for one that is none."""
    there = [found["name"] for found in rows(api, "NamespaceNames", {})]
    if not names:
        return there
    for name in names:
        if name not in there:
            raise unknown_namespace(name, there)
    return list(dict.fromkeys(names))


def _report(done: PolicyChange, action: str, now: datetime, *, as_json: bool) -> None:
    freezes = done.after["freezes"]
    if as_json:
        what = "unchanged" if done.change is None else action
        print_json({"name": done.name, "action": what, "version": done.version, "freezes": freezes})
    elif done.change is None:
        click.echo(f"{printable(done.name)}: nothing to do.")
    else:
        click.echo(f"{printable(done.name)}: {action}, change {done.change['id']}.")
        _warn_of_clocks(done, now)


def _warn_of_clocks(done: PolicyChange, now: datetime) -> None:
    """A freeze from now on, by a clock that is ahead of the server's, is not in force yet."""
    committed = _time(str(done.change and done.change["committedAt"]))
    added = [one for one in done.after["freezes"] if one not in done.before["freezes"]]
    if any(committed < _time(one["begins"]) <= now for one in added):
        ahead = (now - committed).total_seconds()
        print_status(f"Warning: the clock of this machine is {ahead:.1f} s ahead of the server's: it begins then.")


def _show(server: Address, now: datetime, *, as_json: bool) -> None:
    with ApiClient(server) as api:
        found = list(rows(api, "ListNamespaces", {}))
        coming = _coming(api, found)
    frozen = {namespace["name"]: [*namespace["policy"]["freezes"], *coming[namespace["name"]]] for namespace in found}
    if as_json:
        for namespace in found:
            if freezes := frozen[namespace["name"]]:
                name, version = namespace["name"], namespace["version"]
                print_json({"name": name, "action": "unchanged", "version": version, "freezes": freezes})
        return
    freezes = [freeze for name, windows in frozen.items() for freeze in _freezes(name, windows, now)]
    print_documents(_FREEZES, freezes)
    count = len({freeze["namespace"] for freeze in freezes if freeze["state"] == NOW})
    print_status(f"{count:,} of {len(found):,} namespaces are frozen now.")


def _coming(api: ApiClient, namespaces: Sequence[Json]) -> dict[str, list[Json]]:
    """By name what recurring freezes come to: those in force, and the next month's."""
    coming: dict[str, list[Json]] = {namespace["name"]: [] for namespace in namespaces}
    if any(namespace["policy"]["recurringFreezes"] for namespace in namespaces):
        single = {namespace["name"]: namespace["policy"]["freezes"] for namespace in namespaces}
        for found in rows(api, "FreezeCalendar", {}):
            if (name := found["name"]) in coming:
                coming[name] = [window for window in found["freezesBetween"] if window not in single[name]]
    return coming


def _warn_of_recurring(api: ApiClient, names: Sequence[str], now: datetime) -> None:
    """Of those that are under a freeze that comes again, which no thaw ends."""
    found = [namespace for namespace in rows(api, "ListNamespaces", {}) if namespace["name"] in names]
    for name, windows in _coming(api, found).items():
        for window in windows:
            if in_force(window, now):
                until, why = format_time(window["ends"]), printable(window["reason"])
                print_status(
                    f"Warning: {printable(name)} stays frozen until {until}, by a freeze that comes again ({why})."
                )


def _freezes(name: str, freezes: Sequence[Json], now: datetime) -> Iterator[Json]:
    """The windows that have not ended, as rows of a table."""
    for window in freezes:
        if now < _time(window["ends"]):
            yield {"namespace": name, "state": NOW if in_force(window, now) else LATER, **window}
