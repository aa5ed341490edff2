"""What commands for nodes share: options, reading a node and printing it, and what becomes of a change."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import click

from graph.cli.errors import ApiClient, Failure, committed, refused
from graph.cli.lookups import unknown_node
from graph.cli.options import checked_by
from graph.cli.output import NOTHING, Field, field_lines, format_time, made_by, print_fields, print_json
from graph.cli.suggestions import suggest_retry
from graph.client.records import Json
from persistence.model.fields import weight_problem
from persistence.model.records import MAX_COUNTER, NodeStatus

F = TypeVar("F", bound=Callable[..., Any])

_STATUSES: Final = [status for status in NodeStatus if status is not NodeStatus.REMOVED]
"""REMOVED is what `remove` is for."""


def place_options(command: F) -> F:
    """--region, --zone."""
    command = click.option("--zone", help="The zone it is in, as locality hints name it.")(command)
    return click.option("--region", help="The region it is in, as locality hints name it.")(command)


def use_options(*, weight: int | None) -> Callable[[F], F]:
    """--weight with this default, --status."""

    def decorate(command: F) -> F:
        command = click.option(
            "--status",
            type=click.Choice(_STATUSES, case_sensitive=False),
            help="Whether it may own shards from now on.",
        )(command)
        return click.option(
            "--weight",
            type=int,
            default=weight,
            show_default=weight is not None,
            callback=checked_by(weight_problem),
            help="How much it takes, relative to other nodes.",
        )(command)

    return decorate


def version_option(command: F) -> F:
    """--expected-version, where it may be left out."""
    return click.option(
        "--expected-version",
        type=click.IntRange(1, MAX_COUNTER),
        help="The version you have seen. By default the one it is at.",
    )(command)


def node_fields(node: Json, change: Json | None = None) -> list[Field]:
    """`change` is the one that left the node as it is, where that is known."""
    fields: list[Field] = [
        ("node", node["nodeId"]),
        ("status", node["status"]),
        ("region", node["region"]),
        ("zone", node["zone"]),
        ("labels", format_labels(node["labels"])),
        ("weight", node["weight"]),
        ("shards", node["shardCount"]),
        ("leads", node["leaderCount"]),
        ("version", node["version"]),
        ("ticket", node["changeTicket"]),
        ("created", format_time(node["createdAt"])),
        ("updated", format_time(node["updatedAt"])),
    ]
    return fields if change is None else [*fields, ("changed by", made_by(change))]


def format_labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) or NOTHING


def read_node(api: ApiClient, node_id: str) -> Json:
    """A removed one too, with that status. Raises Failure if there never was one."""
    found = api.execute("NodeDetails", {"nodeId": node_id})["node"]
    if found is None:
        raise unknown_node(api, node_id)
    return dict(found)


def version_of(api: ApiClient, node_id: str, expected: int | None) -> str:
    """The version to expect: `expected`, or without it the one that the node is at."""
    return str(read_node(api, node_id)["version"] if expected is None else expected)


def changed_node(answer: Json, advice: Sequence[str] = ()) -> Json:
    """The answer, if the change was made. Raises Failure; a conflict shows the node as it is, and how to go on."""
    if answer["__typename"] == "NodeVersionConflict" and answer["current"] is not None:
        raise _conflict(answer)
    return committed(answer, advice)


def now_is(node: Json, change: Json | None) -> list[str]:
    """Advice that begins with the node as it is."""
    return ["It is now:", *(f"  {line}" for line in field_lines(node_fields(node, change)))]


def print_node(done: Json, *, as_json: bool) -> None:
    if as_json:
        print_json({"node": done["node"], "change": done["change"]})
    else:
        print_fields(node_fields(done["node"], done["change"]))


def _conflict(answer: Json) -> Failure:
    now = answer["current"]
    retry = suggest_retry(expected_version=now["version"])
    advice = [*now_is(now, answer["lastChange"]), "If your change still is the right one:", f"  {retry}"]
    return refused(answer, advice)
