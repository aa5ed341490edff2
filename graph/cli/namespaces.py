"""`omnirelay mesh namespaces`: list, get, apply and strategies; and how a namespace is created or configured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from graph.cli.errors import ApiClient, Exit, Failure, committed
from graph.cli.listing import Listing, list_options
from graph.cli.lookups import read_namespace
from graph.cli.options import change_input, change_options, server_options
from graph.cli.output import (
    NOTHING,
    Column,
    format_time,
    made_by,
    pluralized,
    print_documents,
    print_fields,
    print_json,
    print_status,
    print_table,
    printable,
)
from graph.cli.policy import policy_fields
from graph.client.address import Address
from graph.client.http import rows
from graph.client.records import Json
from persistence.codec.json_documents import configuration_differences, read_policy, write_policy
from persistence.model.fields import json_problem
from persistence.model.policy import NamespaceConfiguration
from persistence.model.records import ChangeKind

if TYPE_CHECKING:
    from graph.namespace_declarations import NamespaceDeclaration


def _sorted_json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


_COLUMNS: Final = (
    Column("NAMESPACE", "name"),
    Column("STRATEGY", "strategy"),
    Column("PARAMETERS", "strategyParameters", _sorted_json),
    Column("VERSION", "version"),
    Column("SHARDS", "shardCount"),
    Column("REVISION", "revision"),
    Column("ALGORITHM", "algorithmVersion", wide=True),
    Column("DIGEST", "digest", wide=True),
    Column("UPDATED", "updatedAt", format_time),
)

_STRATEGIES: Final = (
    Column("STRATEGY", "name"),
    Column("ALGORITHM", "algorithmVersion"),
    Column("MOVEMENT", "movement"),
)

_PARAMETERS: Final = ("PARAMETER", "STRATEGY", "DEFAULT", "RULE")

_ANY: Final = "any strategy"


@click.group()
def namespaces() -> None:
    """Families of shards, each with one placement strategy."""


@namespaces.command("list")
@list_options(_COLUMNS, "name")
def list_namespaces(*, server: Address, listing: Listing) -> None:
    """List all namespaces.

    With --json JSON Lines: a namespace each.
    """
    with ApiClient(server) as api:
        found = list(rows(api, "ListNamespaces", {}))
    listing.print(found, "namespace")


@namespaces.command("get")
@click.argument("namespace")
@server_options
def get_namespace(*, namespace: str, server: Address, as_json: bool) -> None:
    """Show one namespace: its strategy, what it holds, its policy, and who configured it last and why.

    With --json one document: namespace and lastChange.
    """
    configured = {"filter": {"namespace": namespace, "kinds": [str(ChangeKind.CONFIGURE_NAMESPACE)]}}
    with ApiClient(server) as api:
        found = read_namespace(api, namespace)
        change = next(rows(api, "ListChanges", configured, 1), None)
    if as_json:
        print_json({"namespace": found, "lastChange": change})
        return
    print_fields(
        [
            ("namespace", found["name"]),
            ("strategy", f"{found['strategy']} (algorithm version {found['algorithmVersion']})"),
            ("parameters", _sorted_json(found["strategyParameters"])),
            ("shards", found["shardCount"]),
            ("version", found["version"]),
            ("revision", found["revision"]),
            ("digest", found["digest"]),
            ("created", format_time(found["createdAt"])),
            ("updated", format_time(found["updatedAt"])),
            ("changed by", made_by(change)),
            *policy_fields(found["policy"]),
        ]
    )


@namespaces.command("apply")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would be done, field by field; write nothing.")
@click.option(
    "--force-reason",
    help="Why it shall be done although shards have no placement then. Kept with the change as forced.",
)
@change_options
@server_options
def apply_namespaces(
    *,
    file: Path,
    dry_run: bool,
    force_reason: str | None,
    reason: str,
    ticket: str | None,
    actor: str | None,
    server: Address,
    as_json: bool,
) -> None:
    """Create or configure the namespaces that a TOML file declares, where they differ from it.

    A namespace that is placed by another version of its strategy's algorithm than the server has differs, too, unless
    the file names nothing but its policy.

    A declaration reads [namespaces.orders], with strategy = "ring" and parameters = {virtualNodes = 160}; the settings
    file of the server will do. Its policy stands in [namespaces.orders.policy], with the fields of the API, such as
    moveBudgetPercent. What a file does not name stays as it is: namespaces, parameters, fields of a policy. A list that
    it names is the list: freezes = [] ends them all. defaults = ["policy.windowMoves"] gives a field its default again.
    No shard moves.

    Prints what becomes of each field. With --json JSON Lines: name, action (created, updated, unchanged), version and
    changes (field, before, after) of each.
    """
    declared = _declarations(file)
    change = change_input(reason, ticket, actor, force_reason)
    with ApiClient(server) as api:
        existing = {item["name"]: item for item in rows(api, "ListNamespaces", {})}
        strategies = {
            item["name"]: (item["algorithmVersion"], [parameter["name"] for parameter in item["parameters"]])
            for item in api.execute("ListStrategies")["strategies"]
        }
        for name, declaration in declared.items():
            before = existing.get(name)
            was = None if before is None else _configuration(before)
            strategy = declaration.strategy_for(was.strategy if was else None)
            algorithm, taken = strategies.get(strategy, (None, ()))
            wanted = declaration.configuration(was, algorithm, taken)
            version = None if before is None else str(before["version"])
            action = "created" if was is None else "unchanged" if was == wanted else "updated"
            if action != "unchanged" and not dry_run:
                policy = write_policy(wanted.policy) if declaration.changes_policy else None
                parameters = wanted.strategy_parameters
                if was and policy and was.strategy == strategy and was.algorithm_version != wanted.algorithm_version:
                    # A change of the policy keeps the version of the algorithm: another one takes a change of its own.
                    version = str(configure(api, name, strategy, parameters, version or "0", change)["version"])
                version = str(configure(api, name, strategy, parameters, version or "0", change, policy)["version"])
            changes = list(configuration_differences(was, wanted))
            if as_json:
                fields = [{"field": field, "before": old, "after": new} for field, old, new in changes]
                document = {"name": name, "action": action, "version": version, "dryRun": dry_run, "changes": fields}
                print_json(document)
                continue
            would = "would be " if dry_run and action != "unchanged" else ""
            click.echo(f"{name}: {would}{action} ({strategy}, {_parameters(wanted)}).")
            for field, old, new in changes:
                if was is not None or field.startswith("policy."):
                    click.echo(f"  {field}: {_value(old)} -> {_value(new)}")
            if wanted.policy.freezes and "policy.freezes" not in declaration.declared_fields:
                standing = pluralized(len(wanted.policy.freezes), "freeze")
                print_status(f"{name}: the file declares no freezes, which leaves {standing}: freezes = [] ends them.")


def _value(value: object) -> str:
    return NOTHING if value is None else printable(value if isinstance(value, (str, float)) else _sorted_json(value))


def _declarations(file: Path) -> Mapping[str, NamespaceDeclaration]:
    # Imported here: only this command reads settings, and the library that checks them takes a while to load.
    from graph.settings import SettingsError, load_namespaces  # noqa: PLC0415 - see above

    try:
        declared = load_namespaces(file)
    except SettingsError as error:
        raise Failure(Exit.INVALID, f"{printable(file)} cannot be applied.", str(error).splitlines()) from error
    if not declared:
        raise Failure(
            Exit.INVALID,
            f"{printable(file)} declares no namespace.",
            ['Write for example: [namespaces.orders], and below it: strategy = "ring"'],
        )
    problems = [
        f"namespaces.{name}.parameters: {problem}"
        for name, declaration in declared.items()
        if (problem := json_problem(declaration.parameters)) is not None
    ]
    if problems:
        raise Failure(Exit.INVALID, f"{printable(file)} cannot be applied.", problems)
    return declared


def _configuration(namespace: Json) -> NamespaceConfiguration:
    return NamespaceConfiguration(
        namespace["strategy"],
        namespace["strategyParameters"],
        namespace["algorithmVersion"],
        read_policy(namespace["policy"]),
    )


def _parameters(configuration: NamespaceConfiguration) -> str:
    set_to = configuration.strategy_parameters.items()
    return ", ".join(f"{name} {printable(value)}" for name, value in set_to) or "default parameters"


def configure(
    api: ApiClient,
    name: str,
    strategy: str,
    parameters: Mapping[str, Any],
    expected_version: str,
    change: Json,
    policy: Json | None = None,
) -> Json:
    """The namespace afterwards. `expected_version` is "0" for a new one; without a policy it keeps the one it has.

    Raises Failure if it is refused.
    """
    given: Json = {
        "name": name,
        "strategy": strategy,
        "strategyParameters": dict(parameters),
        "expectedVersion": expected_version,
        "change": change,
    }
    if policy is not None:
        given["policy"] = policy
    return dict(committed(api.change("ConfigureNamespace", given))["namespace"])


@namespaces.command("strategies")
@server_options
def list_strategies(*, server: Address, as_json: bool) -> None:
    """List the strategies that a namespace can have, with the parameters each takes.

    With --json JSON Lines: a strategy each, with its parameters.
    """
    with ApiClient(server) as api:
        found = api.execute("ListStrategies")["strategies"]
    if as_json:
        for strategy in found:
            print_json(strategy)
        return
    print_documents(_STRATEGIES, found)
    click.echo()
    print_table(_PARAMETERS, list(_strategy_parameters(found)))


def _strategy_parameters(strategies: Sequence[Json]) -> Iterator[tuple[object, ...]]:
    """Each strategy's own, and then once what they all have."""
    constraints: dict[str, Json] = {}
    for strategy in strategies:
        for parameter in strategy["parameters"]:
            if parameter["constraint"]:
                constraints[parameter["name"]] = parameter
            else:
                yield _cells(parameter, strategy["name"])
    for parameter in constraints.values():
        yield _cells(parameter, _ANY)


def _cells(parameter: Json, of: str) -> tuple[object, ...]:
    return parameter["name"], of, json.dumps(parameter["default"]), parameter["rule"]
