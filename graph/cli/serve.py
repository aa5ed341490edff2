"""`omnirelay serve`."""

import gc
import logging
import os
from collections.abc import Callable
from pathlib import Path

import click

from graph.cli.errors import Exit, Failure
from graph.cli.options import database_options, settings_from
from graph.cli.progress import StepLog
from graph.logs import log

_log = logging.getLogger(__name__)


@click.command()
@click.option("--host", help="Address to listen on. [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port to listen on; 0 takes a free one. [default: 8080]")
@database_options
@click.option(
    "--demo/--no-demo",
    default=None,
    help="Load the demo mesh into an empty store. [default: into the embedded one]",
)
@click.option(
    "--wait-for-database",
    type=click.FloatRange(0, 86_400),
    metavar="SECONDS",
    help="How long to wait for a database that is not up yet. [default: 0]",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Processes that serve: as many as processors. [default: 1]",
)
@click.option(
    "--trusted-documents",
    type=click.Choice(["off", "prefer", "require"]),
    help="Whether documents may be named by ids, and whether others than trusted ones are taken. [default: prefer]",
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Least severe line to log.")
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), help="Form of the lines that are logged. [default: text]"
)
def serve(
    *,
    config: Path | None,
    host: str | None,
    port: int | None,
    data_dir: Path | None,
    database_url: str | None,
    demo: bool | None,
    wait_for_database: float | None,
    workers: int | None,
    trusted_documents: str | None,
    log_level: str | None,
    log_format: str | None,
) -> Exit:
    """Run the server, on an embedded PostgreSQL unless another is named.

    Ctrl-C or SIGTERM stops it: requests under way are finished, subscribers are told to come back later. With several
    workers SIGHUP replaces them one after the other, with settings read anew, and no request fails.
    """
    given = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "database_url": database_url,
        "demo": demo,
        "wait_for_database_seconds": wait_for_database,
        "workers": workers,
        "trusted_documents": trusted_documents,
        "log_level": log_level,
        "log_format": log_format,
    }
    settings = settings_from(config, Exit.NO, **given)
    # Imported here: what a server needs takes a second to load. Next to nothing of it is garbage, and looking for some
    # took a sixth of that; `serve_until_stopped` switches the collector on again.
    gc.disable()
    from graph.server.lifecycle import serve_until_stopped  # noqa: PLC0415 - see above
    from graph.server.process import CannotStart  # noqa: PLC0415 - same
    from graph.settings import load_settings  # noqa: PLC0415 - same

    in_json = settings.log_format == "json"
    steps: Callable[[str], None] = _log.info if in_json else StepLog()

    def announce(url: str) -> None:
        if in_json:
            log(_log, logging.INFO, "Ready", {"url": url})
            return
        steps("Ready")
        click.echo(f"GraphiQL  {url}/graphql\nDashboard {url}/\nHealth    {url}/readyz\nMetrics   {url}/metrics")
        steps("Ctrl-C stops it")

    try:
        serve_until_stopped(
            settings,
            config,
            reread=lambda: load_settings(config, os.environ, **given),
            progress=steps,
            announce=announce,
        )
    except CannotStart as error:
        raise Failure(Exit.NO, str(error), error.advice) from error
    return Exit.OK
