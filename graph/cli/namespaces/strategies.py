"""`omnirelay mesh namespaces strategies`."""

import json
from collections.abc import Iterator, Sequence
from typing import Final

import click

from graph.cli.api import Api
from graph.cli.options import server_options
from graph.cli.output import Json, print_json
from graph.cli.tables import print_table
from graph.client.address import Address

_STRATEGIES: Final = ("STRATEGY", "VERSION", "MOVEMENT")
_PARAMETERS: Final = ("PARAMETER", "OF", "DEFAULT", "RULE")
_ANY: Final = "any strategy"


@click.command("strategies")
@server_options
def list_strategies(*, server: Address, as_json: bool) -> None:
    """List the strategies that a namespace can have, with the parameters each takes.

    With --json JSON Lines: a strategy each, with its parameters.
    """
    with Api(server) as api:
        found = api.ask("ListStrategies")["strategies"]
    if as_json:
        for strategy in found:
            print_json(strategy)
        return
    print_table(_STRATEGIES, [(one["name"], one["algorithmVersion"], one["movement"]) for one in found])
    click.echo()
    print_table(_PARAMETERS, list(_parameters(found)))


def _parameters(strategies: Sequence[Json]) -> Iterator[tuple[object, ...]]:
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
