"""`omnirelay db`: upgrade, check, compact and new-epoch."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from graph.cli.errors import Exit, Failure
from graph.cli.offline import run_on_database
from graph.cli.options import Parsed, change_options, database_options, json_option
from graph.cli.output import print_json, print_status
from graph.cli.points_in_time import Revision, RevisionsAgo, Time, read_point_in_time
from graph.cli.progress import StepLog
from persistence.model.fields import quoted

if TYPE_CHECKING:
    from migrations import SchemaStatus
    from persistence.commands.command import ChangeRequest
    from persistence.model.records import AsOf
    from persistence.ports.writes import Forecast, HistoryCompacted


@click.group()
def db() -> None:
    """The database: its schema, its history, its place in time."""


@db.command()
@database_options
def upgrade(*, config: Path | None, data_dir: Path | None, database_url: str | None) -> None:
    """Bring the database's schema to what this version of the program needs.

    Safe to run by several at once, and again. A schema that is newer and serves this version is left as it is. `serve`
    does it by itself for the embedded database only.
    """
    import migrations  # noqa: PLC0415 - clients need not load what talks to databases

    status = run_on_database(config, data_dir, database_url, migrations.upgrade, create=True)
    newer = "" if status.age is migrations.Age.SAME else f", newer than this program ({status.needed}), which it serves"
    print_status(f"The schema is at revision {status.found}{newer}.")


@db.command()
@json_option
@database_options
def check(*, as_json: bool, config: Path | None, data_dir: Path | None, database_url: str | None) -> None:
    """Say which schema the database has, and whether this version of the program may serve it. Exit with 1 if not."""
    import migrations  # noqa: PLC0415 - clients need not load what talks to databases

    status = run_on_database(config, data_dir, database_url, migrations.status)
    problem = status.problem or (migrations.IN_RECOVERY if status.in_recovery else None)
    if as_json:
        print_json(_document(status, problem))
    else:
        click.echo(f"Schema of the database: {status.found or 'none'}")
        click.echo(f"Programs it serves:     {', '.join(status.serves) or 'none'}")
        click.echo(f"This program:           {status.needed}")
    if problem is not None:
        raise Failure(Exit.NO, f"This program may not serve it: {problem}.", is_written=True)
    print_status("This program may serve it.")


def _document(status: SchemaStatus, problem: str | None) -> dict[str, object]:
    return {
        "found": status.found,
        "serves": status.serves,
        "needed": status.needed,
        "inRecovery": status.in_recovery,
        "mayServe": problem is None,
        "problem": problem,
    }


def _read_past(text: str) -> Revision | Time:
    """A revision, or a time that is not to come. Raises ValueError."""
    now = datetime.now(UTC)
    point = read_point_in_time(text, now)
    if isinstance(point, RevisionsAgo):
        raise ValueError(f"{text} counts revisions from the newest: give the revision itself")  # noqa: TRY004 - read so
    if isinstance(point, Time) and point.at > now:
        raise ValueError(f"{quoted(text)} is yet to come")
    return point


@db.command()
@click.option(
    "--before",
    required=True,
    type=Parsed("moment", _read_past),
    help="The oldest moment to keep: a revision, a time, or 15m, 2h, 30d for so long ago.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option
@change_options
@database_options
def compact(
    *,
    before: Revision | Time,
    dry_run: bool,
    as_json: bool,
    reason: str,
    ticket: str | None,
    actor: str,
    config: Path | None,
    data_dir: Path | None,
    database_url: str | None,
) -> Exit:
    """Remove history from before a moment, for good. Servers and writers go on meanwhile.

    Of what is older the newest row of each shard stays, so that time travel, differences and subscriptions from that
    moment on are as exact as before. Older positions are refused with COMPACTED. Exit with 1 if there is nothing to
    remove.
    """
    from persistence.commands.command import ChangeRequest  # noqa: PLC0415 - clients need not load it

    change = ChangeRequest(actor, reason, ticket)

    async def work(url: str) -> tuple[Forecast, HistoryCompacted | None]:
        return await _compact(url, _as_of(before), change, dry_run=dry_run)

    forecast, done = run_on_database(config, data_dir, database_url, work)
    if as_json:
        print_json(_compaction_document(forecast, done))
    elif done is not None:
        removed, freed = done.compaction.removed_rows, max(done.freed_bytes, 0) / 1e6
        click.echo(f"Revision {forecast.floor} is the oldest now: {removed:,} rows removed, {freed:,.1f} MB freed.")
    if forecast.floor <= forecast.previous_floor:
        print_status(
            f"Nothing to do: revision {forecast.previous_floor} is the oldest there is, and none of it is older."
        )
        return Exit.NO
    return Exit.OK


async def _compact(
    url: str, before: AsOf, change: ChangeRequest, *, dry_run: bool
) -> tuple[Forecast, HistoryCompacted | None]:
    from graph.server.composition import open_retention  # noqa: PLC0415 - clients need not load what talks to databases
    from migrations import require_compatible  # noqa: PLC0415 - same

    change.validate()
    await require_compatible(url)
    retention = open_retention(url, StepLog())
    forecast = await retention.foresee(before)
    if forecast.floor <= forecast.previous_floor:
        return forecast, None
    would = "would be removed" if dry_run else "are removed"
    print_status(
        f"Compacting to revision {forecast.floor}: {forecast.removed_rows:,} rows {would}, {forecast.kept_rows:,} stay "
        "as the newest of their shards."
    )
    return forecast, None if dry_run else await retention.compact(forecast.floor, change)


def _as_of(before: Revision | Time) -> AsOf:
    from persistence.model.records import AsOf  # noqa: PLC0415 - clients need not load it

    return AsOf(time=before.at) if isinstance(before, Time) else AsOf(revision=before.number)


def _compaction_document(forecast: Forecast, done: HistoryCompacted | None) -> dict[str, object]:
    """Counters are strings of digits, as everywhere in the API. Null is what a dry run does not compute."""
    return {
        "floor": str(forecast.floor),
        "previousFloor": str(forecast.previous_floor),
        "removedRows": str(forecast.removed_rows),
        "keptRows": str(forecast.kept_rows),
        "freedBytes": None if done is None else str(done.freed_bytes),
        "changeId": None if done is None else str(done.change.id),
    }


@db.command("new-epoch")
@database_options
def new_epoch(*, config: Path | None, data_dir: Path | None, database_url: str | None) -> None:
    """Make every subscriber list again: run it after putting an older or copied data folder in place.

    Nothing in such a folder differs from a restart, and revisions that were seen would be issued again.
    """
    connected = run_on_database(config, data_dir, database_url, _begin_new_epoch)
    print_status("The stream has a new epoch. Cursors from before are refused with EPOCH_MISMATCH.")
    if connected:
        print_status(
            f"Servers hold {connected} connections: what they answered since the folder was put in place may be wrong. "
            "Their subscribers list again now. Another time, run this before the servers start."
        )


async def _begin_new_epoch(url: str) -> int:
    import migrations  # noqa: PLC0415 - clients need not load what talks to databases
    from graph.server.composition import begin_new_epoch  # noqa: PLC0415 - same

    await migrations.require_writable(url)
    return await begin_new_epoch(url)
