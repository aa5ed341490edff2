"""How commands work on the database itself, not through a server: opened by the settings, with errors as exits."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from graph.cli.errors import Exit, Failure
from graph.cli.options import settings_from
from graph.cli.progress import StepLog

T = TypeVar("T")


def run_on_database(
    config: Path | None, data_dir: Path | None, database_url: str | None, work: Callable[[str], Awaitable[T]]
) -> T:
    """What `work` returns for the database's URL. Raises Failure for whatever the store raises."""
    import asyncio  # noqa: PLC0415 - clients need not load what talks to databases

    from graph.embedded_postgres.server import EmbeddedPostgresError  # noqa: PLC0415 - same
    from graph.server.composition import open_database  # noqa: PLC0415 - same
    from persistence.errors import (  # noqa: PLC0415 - same
        FutureCursor,
        InvalidArgument,
        SchemaOutOfDate,
        StoreError,
        TransientConflict,
    )

    settings = settings_from(config, Exit.INVALID, data_dir=data_dir, database_url=database_url)

    async def run() -> T:
        async with open_database(settings, StepLog()) as url:
            return await work(url)

    try:
        return asyncio.run(run())
    except SchemaOutOfDate as error:
        raise Failure(Exit.NO, f"The schema is not what this program needs: {error}.") from error
    except FutureCursor as error:
        raise Failure(Exit.INVALID, f"There is no such moment yet: {error}") from error
    except InvalidArgument as error:
        raise Failure(Exit.INVALID, f"{error}.") from error
    except TransientConflict as error:
        raise Failure(Exit.UNAVAILABLE, f"Nothing was done: {error}.") from error
    except (StoreError, EmbeddedPostgresError, OSError) as error:
        raise Failure(Exit.UNAVAILABLE, f"No database: {str(error).rstrip('.')}.") from error
