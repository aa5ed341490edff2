"""Options that stand for settings, and settings from options, environment and file."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from graph.cli.exits import Exit, Failure

if TYPE_CHECKING:
    from graph.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


def database_options(command: F) -> F:
    """--config, --database-url, --data-dir. The environment is read with the settings, so not here."""
    command = click.option(
        "--data-dir", type=click.Path(file_okay=False, path_type=Path), help="Folder of the embedded PostgreSQL."
    )(command)
    command = click.option(
        "--database-url", metavar="URL", help="A PostgreSQL of yours instead: postgresql://user@host/database."
    )(command)
    return config_option(command)


def config_option(command: F) -> F:
    """--config."""
    return click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="OMNIRELAY_CONFIG",
        show_envvar=True,
        help="TOML file with settings.",
    )(command)


def settings_from(config: Path | None, failing_with: Exit, **given: object) -> "Settings":
    """Raises Failure, with the exit code of the command, that names each setting that is wrong and where it was set."""
    from graph.settings import SettingsError, load_settings  # noqa: PLC0415 - clients need not load what checks settings

    try:
        return load_settings(config, os.environ, **given)
    except SettingsError as error:
        lines = [f"  {line}" for line in str(error).splitlines()]
        raise Failure(failing_with, "These settings cannot be used:", lines) from error
