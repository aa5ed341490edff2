"""`omnirelay db`."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from graph.cli.exits import Exit, Failure
from graph.cli.output import tell
from graph.cli.settings_options import database_options, settings_from
from graph.cli.steps import Steps


@click.group()
def db() -> None:
    """The schema of the database."""


@db.command()
@database_options
def upgrade(*, config: Path | None, data_dir: Path | None, database_url: str | None) -> None:
    """Bring the database's schema to what this version of the program needs.

    Safe to run by several at once, and again. `serve` does it by itself for the embedded database only.
    """
    import migrations  # noqa: PLC0415 - clients need not load what talks to databases

    _with_database(config, data_dir, database_url, migrations.upgrade)
    tell(f"The schema is at revision {migrations.newest()}.")


@db.command()
@database_options
def check(*, config: Path | None, data_dir: Path | None, database_url: str | None) -> None:
    """Say whether the database's schema is what this version of the program needs. Exit with 1 if it is not."""
    import migrations  # noqa: PLC0415 - clients need not load what talks to databases

    _with_database(config, data_dir, database_url, migrations.require_current)
    tell(f"The schema is at revision {migrations.newest()}, as it should be.")


@db.command("new-epoch")
@database_options
def new_epoch(*, config: Path | None, data_dir: Path | None, database_url: str | None) -> None:
    """Make every subscriber list again: run it after putting an older or copied data folder in place.

    Nothing in such a folder differs from a restart, and revisions that were seen would be issued again.
    """
    from persistence.postgres.stream import begin_new_epoch  # noqa: PLC0415 - clients need not load it

    _with_database(config, data_dir, database_url, begin_new_epoch)
    tell("The stream has a new epoch. Cursors from before are refused with EPOCH_MISMATCH.")


def _with_database(
    config: Path | None, data_dir: Path | None, database_url: str | None, work: Callable[[str], Awaitable[None]]
) -> None:
    import asyncio  # noqa: PLC0415 - clients need not load what talks to databases

    from graph.composition import open_database  # noqa: PLC0415 - same
    from graph.embedded_postgres import EmbeddedPostgresError  # noqa: PLC0415 - same
    from persistence.errors import InvalidArgument, SchemaOutOfDate, StoreError  # noqa: PLC0415 - same

    settings = settings_from(config, Exit.INVALID, data_dir=data_dir, database_url=database_url)

    async def run() -> None:
        async with open_database(settings, Steps()) as url:
            await work(url)

    try:
        asyncio.run(run())
    except SchemaOutOfDate as error:
        raise Failure(Exit.NO, f"The schema is not what this program needs: {error}.") from error
    except InvalidArgument as error:
        raise Failure(Exit.INVALID, f"{error}.") from error
    except (StoreError, EmbeddedPostgresError, OSError) as error:
        raise Failure(Exit.UNAVAILABLE, f"No database: {str(error).rstrip('.')}.") from error
