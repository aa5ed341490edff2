"""`omnirelay db`."""

from pathlib import Path

import click

from graph.cli.compacting import compact
from graph.cli.on_database import on_database
from graph.cli.output import tell
from graph.cli.settings_options import database_options


@click.group()
def db() -> None:
    """The database: its schema, its history, its place in time."""


@db.command()
@database_options
def upgrade(*, config: Path | None, data_dir: Path | None, database_url: str | None) -> None:
    """Bring the database's schema to what this version of the program needs.

    Safe to run by several at once, and again. `serve` does it by itself for the embedded database only.
    """
    import migrations  # noqa: PLC0415 - clients need not load what talks to databases

    on_database(config, data_dir, database_url, migrations.upgrade)
    tell(f"The schema is at revision {migrations.newest()}.")


@db.command()
@database_options
def check(*, config: Path | None, data_dir: Path | None, database_url: str | None) -> None:
    """Say whether the database's schema is what this version of the program needs. Exit with 1 if it is not."""
    import migrations  # noqa: PLC0415 - clients need not load what talks to databases

    on_database(config, data_dir, database_url, migrations.require_current)
    tell(f"The schema is at revision {migrations.newest()}, as it should be.")


db.add_command(compact)


@db.command("new-epoch")
@database_options
def new_epoch(*, config: Path | None, data_dir: Path | None, database_url: str | None) -> None:
    """Make every subscriber list again: run it after putting an older or copied data folder in place.

    Nothing in such a folder differs from a restart, and revisions that were seen would be issued again.
    """
    from persistence.postgres.stream import begin_new_epoch  # noqa: PLC0415 - clients need not load it

    on_database(config, data_dir, database_url, begin_new_epoch)
    tell("The stream has a new epoch. Cursors from before are refused with EPOCH_MISMATCH.")
