"""`omnirelay mesh namespaces apply`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from graph.cli.api import Api
from graph.cli.exits import Exit, Failure
from graph.cli.namespaces.writing import configure
from graph.cli.options import change_input, change_options, server_options
from graph.cli.output import Json, print_json
from graph.cli.text import shown
from graph.client.address import Address
from graph.client.pages import rows
from persistence.fields import json_problem
from persistence.policy_documents import read_policy, write_policy

if TYPE_CHECKING:
    from graph.settings import NamespaceDeclaration


@click.command("apply")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
@change_options
@server_options
def apply_namespaces(
    *, file: Path, dry_run: bool, reason: str, ticket: str | None, actor: str, server: Address, as_json: bool
) -> None:
    """Create or configure the namespaces that a TOML file declares, where they differ from it.

    A namespace that is placed by another version of its strategy's algorithm than the server has differs, too.

    A declaration reads [namespaces.orders], with strategy = "ring" and parameters = {virtualNodes = 160}; the settings
    file of the server will do. Its policy stands in [namespaces.orders.policy], with the fields of the API, such as
    moveBudgetPercent; without one, a namespace keeps the policy it has. Namespaces that the file does not name stay as
    they are, and no shard moves.

    With --json JSON Lines: name, action (created, updated, unchanged) and version of each.
    """
    declared = _declarations(file)
    change = change_input(reason, ticket, actor)
    with Api(server) as api:
        existing = {item["name"]: item for item in rows(api, "ListNamespaces", {})}
        algorithms = {item["name"]: item["algorithmVersion"] for item in api.ask("ListStrategies")["strategies"]}
        for name, declaration in declared.items():
            before, algorithm = existing.get(name), algorithms.get(declaration.strategy)
            action, version = _apply(api, name, declaration, algorithm, before, None if dry_run else change)
            if as_json:
                print_json({"name": name, "action": action, "version": version, "dryRun": dry_run})
            else:
                would = "would be " if dry_run and action != "unchanged" else ""
                click.echo(f"{name}: {would}{action} ({declaration.strategy}, {_parameters(declaration)}).")


def _declarations(file: Path) -> dict[str, NamespaceDeclaration]:
    # Imported here: only this command reads settings, and the library that checks them takes a while to load.
    from graph.settings import SettingsError, load_settings  # noqa: PLC0415 - see above

    try:
        declared = load_settings(file, {}).namespaces
    except SettingsError as error:
        raise Failure(Exit.INVALID, f"{shown(file)} cannot be applied.", str(error).splitlines()) from error
    if not declared:
        raise Failure(
            Exit.INVALID,
            f"{shown(file)} declares no namespace.",
            ['Write for example: [namespaces.orders], and below it: strategy = "ring"'],
        )
    problems = [
        f"namespaces.{name}.parameters: {problem}"
        for name, declaration in declared.items()
        if (problem := json_problem(declaration.parameters)) is not None
    ]
    if problems:
        raise Failure(Exit.INVALID, f"{shown(file)} cannot be applied.", problems)
    return declared


def _apply(
    api: Api,
    name: str,
    declaration: NamespaceDeclaration,
    algorithm: int | None,
    existing: Json | None,
    change: Json | None,
) -> tuple[str, str | None]:
    """What was done and the version since. Without a change: what would be done, and the version now.

    `algorithm` is the version that the server has: configuring a namespace again is how it gets that.
    """
    version = None if existing is None else str(existing["version"])
    if existing is not None and _is_as_declared(existing, declaration, algorithm):
        return "unchanged", version
    if change is not None:
        after = configure(
            api, name, declaration.strategy, declaration.parameters, version or "0", change, _policy(declaration)
        )
        version = str(after["version"])
    return "created" if existing is None else "updated", version


def _is_as_declared(namespace: Json, declaration: NamespaceDeclaration, algorithm: int | None) -> bool:
    configured = namespace["strategy"], namespace["strategyParameters"], namespace["algorithmVersion"]
    if configured != (declaration.strategy, declaration.parameters, algorithm):
        return False
    return declaration.policy is None or declaration.policy.policy() == read_policy(namespace["policy"])


def _policy(declaration: NamespaceDeclaration) -> Json | None:
    return None if declaration.policy is None else write_policy(declaration.policy.policy())


def _parameters(declaration: NamespaceDeclaration) -> str:
    given = ", ".join(f"{name} {shown(value)}" for name, value in declaration.parameters.items())
    return given or "default parameters"
