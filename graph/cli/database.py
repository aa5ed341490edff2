"""`omnirelay db`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from graph.cli.compacting import compact
from graph.cli.exits import Exit, Failure
from graph.cli.on_database import on_database
from graph.cli.output import print_json, tell
from graph.cli.settings_options import database_options

if TYPE_CHECKING:
    from migrations import SchemaStatus


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

    status = on_database(config, data_dir, database_url, migrations.upgrade)
    newer = "" if status.age is migrations.Age.SAME else f", newer than this program ({status.needed}), which it serves"
    tell(f"The schema is at revision {status.found}{newer}.")


@db.command()
@click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
@database_options
def check(*, as_json: bool, config: Path | None, data_dir: Path | None, database_url: str | None) -> None:
    """Say which schema the database has, and whether this version of the program may serve it. Exit with 1 if not."""
    import migrations  # noqa: PLC0415 - clients need not load what talks to databases

    status = on_database(config, data_dir, database_url, migrations.status)
    problem = status.problem or (migrations.IN_RECOVERY if status.in_recovery else None)
    if as_json:
        print_json(_document(status, problem))
    else:
        click.echo(f"Schema of the database: {status.found or 'none'}")
        click.echo(f"Programs it serves:     {', '.join(status.serves) or 'none'}")
        click.echo(f"This program:           {status.needed}")
    if problem is not None:
        raise Failure(Exit.NO, f"This program may not serve it: {problem}.")
    tell("This program may serve it.")


def _document(status: "SchemaStatus", problem: str | None) -> dict[str, object]:
    return {
        "found": status.found,
        "serves": status.serves,
        "needed": status.needed,
        "inRecovery": status.in_recovery,
        "mayServe": problem is None,
        "problem": problem,
    }


db.add_command(compact)


@db.command("new-epoch")
@database_options
def new_epoch(*, config: Path | None, data_dir: Path | None, database_url: str | None) -> None:
    """Make every subscriber list again: run it after putting an older or copied data folder in place.

    Nothing in such a folder differs from a restart, and revisions that were seen would be issued again.
    """
    connected = on_database(config, data_dir, database_url, _begin_new_epoch)
    tell("The stream has a new epoch. Cursors from before are refused with EPOCH_MISMATCH.")
    if connected:
        tell(
            f"Servers hold {connected} connections: what they answered since the folder was put in place may be wrong. "
            "Their subscribers list again now. Another time, run this before the servers start."
        )


async def _begin_new_epoch(url: str) -> int:
    import migrations  # noqa: PLC0415 - clients need not load what talks to databases
    from persistence.postgres.stream import begin_new_epoch  # noqa: PLC0415 - same

    await migrations.require_writable(url)
    return await begin_new_epoch(url)
