"""Plans: the options that one is made with, and which one a command is for, by its id or a file with its document."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypedDict, TypeVar

import click

from graph.cli.errors import LIST_PLANS, ApiClient, Exit, Failure
from graph.cli.output import made_by, printable
from graph.cli.proposals import first
from graph.client.address import Address
from graph.client.http import rows
from graph.client.records import Json
from persistence.model.fields import MAX_SHARDS_PER_CHANGE, plan_id_problem
from persistence.model.records import MoveReason
from persistence.planning.proposal import document_id, read_proposal
from strategies.parameters import MAX_THRESHOLD

F = TypeVar("F", bound=Callable[..., Any])

_SHORTEST: Final = 4

_BEGINNING: Final = re.compile(f"[0-9a-f]{{{_SHORTEST},31}}")
"""Of the id of a plan."""


def planning_options(command: F) -> F:
    """--namespace, --max-moves, --vacate, --zone, --region, --only, --threshold."""
    reasons = [reason for reason in MoveReason if reason is not MoveReason.ROLLBACK]
    command = click.option(
        "--threshold",
        type=click.IntRange(0, MAX_THRESHOLD),
        help="Balance: bring nodes as close to their shares as so many per cent, with the fewest moves.",
    )(command)
    command = click.option(
        "--only",
        type=click.Choice(reasons, case_sensitive=False),
        multiple=True,
        help="Only moves for this reason. May be repeated.",
    )(command)
    command = click.option("--region", multiple=True, help="Only off nodes of this region. May be repeated.")(command)
    command = click.option(
        "--zone", metavar="[REGION/]ZONE", multiple=True, help="Only off nodes of this zone. May be repeated."
    )(command)
    command = click.option("--vacate", metavar="NODE", multiple=True, help="Only off this node. May be repeated.")(
        command
    )
    command = click.option(
        "--max-moves",
        type=click.IntRange(1, MAX_SHARDS_PER_CHANGE),
        help="At most this many moves, the most urgent ones.",
    )(command)
    return click.option("--namespace", multiple=True, help="Only shards of this namespace. May be repeated.")(command)


def all_option(command: F) -> F:
    """--all, for tables; JSON has everything anyway."""
    return click.option("--all", "everything", is_flag=True, help="Show every row, however many.")(command)


class PlanningOptions(TypedDict):
    """The values of `planning_options`."""

    namespace: tuple[str, ...]
    max_moves: int | None
    vacate: tuple[str, ...]
    zone: tuple[str, ...]
    region: tuple[str, ...]
    only: tuple[MoveReason, ...]
    threshold: int | None


def planning_input(given: PlanningOptions) -> Json:
    """What the inputs of planRebalance and simulateRebalance have in common. Null stands for all; what narrows a plan
    is left out unless it was typed, for servers that do not know it."""
    narrowed = {
        "vacate": list(given["vacate"]),
        "zones": list(given["zone"]),
        "regions": list(given["region"]),
        "onlyReasons": [str(reason) for reason in given["only"]],
    }
    return {
        "namespaces": list(given["namespace"]) or None,
        "maxMoves": given["max_moves"],
        **{name: values for name, values in narrowed.items() if values},
        **({} if given["threshold"] is None else {"threshold": given["threshold"]}),
    }


@dataclass(frozen=True, slots=True)
class NamedPlan:
    """`file` is where the id was read from; null where it was typed."""

    id: str
    file: str | None = None


def full_plan_id(server: Address, text: str) -> str:
    """The id, of which the beginning will do where no other plan's begins so. Raises Failure, which lists those."""
    if plan_id_problem(text) is None:
        return text
    if not _BEGINNING.fullmatch(text):
        message = f"{printable(text)} is no id of a plan, which has 32 hex digits, nor the first {_SHORTEST} or more."
        raise Failure(Exit.INVALID, message, [LIST_PLANS])
    with ApiClient(server) as api:
        found = [plan for plan in rows(api, "PlanIds", {}) if plan["id"].startswith(text)]
    if len(found) == 1:
        return str(found[0]["id"])
    if not found:
        raise Failure(Exit.NOT_FOUND, f"There is no plan whose id begins with {text}.", [LIST_PLANS])
    listed = [f"  {plan['id']}  {plan['status']}, made by {made_by(plan['created'])}" for plan in found]
    message = f"{text} is the beginning of {len(found):,} plans' ids:"
    raise Failure(Exit.INVALID, message, [*first(listed, everything=False), "Type more of the one that is meant."])


def named_plan(text: str, server: Address) -> NamedPlan:
    """Raises Failure for what is neither the id of a plan, or its beginning, nor a file with one. `-` is stdin.

    A document names itself, so whatever was changed in a file, its id is another plan's: of none that is stored.
    """
    if plan_id_problem(text) is None or (_BEGINNING.fullmatch(text) and not Path(text).exists()):
        return NamedPlan(full_plan_id(server, text))
    name = "stdin" if text == "-" else printable(text)
    try:
        with click.open_file(text, "rb") as file:
            document = file.read().rstrip(b"\r\n").decode()
        read_proposal(document)
    except FileNotFoundError:
        message = f"{name} is neither the id of a plan, which has 32 hex digits, nor its beginning, nor a file."
        raise Failure(Exit.INVALID, message, [LIST_PLANS]) from None
    except OSError as error:
        raise Failure(Exit.INVALID, f"{name} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError):
        advice = "'omnirelay mesh rebalance plan --json' writes one."
        raise Failure(Exit.INVALID, f"{name} is not a plan.", [advice]) from None
    return NamedPlan(document_id(document), name)


def read_plan(api: ApiClient, plan: NamedPlan) -> Json:
    """With the document of its proposal. Raises Failure if there is none."""
    found = api.execute("RebalancePlan", {"id": plan.id, "details": False})["rebalancePlan"]
    if found is None:
        raise no_such_plan(plan)
    return dict(found)


def no_such_plan(plan: NamedPlan) -> Failure:
    """The server stores no plan of this id."""
    if plan.file is None:
        return Failure(Exit.NOT_FOUND, f"There is no plan {plan.id}.", [LIST_PLANS])
    return Failure(
        Exit.NOT_FOUND,
        f"{plan.file} is not a plan of this server: there is none with its content ({plan.id}).",
        [
            "Either it was edited after it was written, or it is another server's, or it was simulated, not planned.",
            "Plan again with 'omnirelay mesh rebalance plan', and apply what comes out.",
        ],
    )
