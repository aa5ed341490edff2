"""Plans and proposals: which one a command is for, and what one does, as tables and as a summary.

A plan is named by its id or by a file with its document. Tables have the first rows, unless all are requested: the most
urgent moves, the nodes whose loads change most.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypedDict, TypeVar

import click

from graph.cli.errors import LIST_PLANS, UPDATE_THE_OLDER, ApiClient, Exit, Failure
from graph.cli.output import (
    arrow,
    format_percent,
    made_by,
    pluralized,
    print_json_text,
    print_table,
    printable,
)
from graph.client.address import Address
from graph.client.http import rows
from graph.client.records import Json
from persistence.model.fields import MAX_SHARDS_PER_CHANGE, plan_id_problem
from persistence.model.records import MoveReason
from persistence.planning.proposal import (
    Conflict,
    LeaderChange,
    Move,
    NodeLoad,
    PlannedNamespace,
    Proposal,
    Rollback,
    Violation,
    document_id,
    read_proposal,
)
from persistence.planning.scope import PlanScope
from persistence.planning.waves import loads_with_peaks
from strategies.parameters import MAX_THRESHOLD

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

LISTED: Final = 20
"""Rows of a table, unless all are requested."""

_WIDTH: Final = 30
"""Characters of the longest bar."""

_SHORTEST: Final = 4

_BEGINNING: Final = re.compile(f"[0-9a-f]{{{_SHORTEST},31}}")
"""Of the id of a plan."""

_MOVES: Final = ("SHARD", "VERSION", "OWNER", "MOVE REASON")

_NAMESPACES: Final = ("NAMESPACE", "STRATEGY", "SHARDS", "MOVED", "MOVED %")

_LOADS: Final = ("NODE", "SHARDS", "PEAK", "CAPACITY", "LOAD (= kept, + gained, - lost)")

_VIOLATIONS: Final = ("PROBLEM", "ABOUT", "NODE", "WHY")

_CONFLICTS: Final = ("SHARD", "PROBLEM", "CHANGE", "WHY")


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


def proposal_of(document: str) -> Proposal:
    """Of a document that the server sent. Raises Failure if it is none that this program knows."""
    try:
        return read_proposal(document)
    except (ValueError, KeyError, TypeError) as error:
        message = f"The server's plan cannot be read ({type(error).__name__}: {error})."
        raise Failure(Exit.INTERNAL, message, [UPDATE_THE_OLDER]) from error


def print_planned(plan: Json, *, everything: bool, as_json: bool) -> Proposal:
    """A plan that was just made: its document, or its tables and a summary."""
    document = plan["proposal"]["document"]
    proposal = proposal_of(document)
    if as_json:
        print_json_text(document)
    else:
        print_proposal(proposal, everything=everything)
        click.echo(summary(proposal, "move"))
    return proposal


def print_proposal(proposal: Proposal, *, everything: bool) -> None:
    """Tables with a blank line after each; none without rows. What it is narrowed to comes first."""
    if proposal.scope is not None:
        click.echo(_scope(proposal.scope))
        click.echo()
    if proposal.moves:
        print_moves(proposal.moves, everything=everything)
        click.echo()
    if len(proposal.namespaces) > 1:
        print_table(_NAMESPACES, [_namespace_cells(namespace) for namespace in proposal.namespaces])
        click.echo()
    if proposal.moves:
        print_loads(loads_with_peaks(proposal), everything=everything)
        click.echo()
    if proposal.violations:
        print_violations(proposal.violations, everything=everything)
        click.echo()
    if proposal.rollback is not None and proposal.rollback.conflicts:
        print_conflicts(proposal.rollback.conflicts, proposal.rollback.omitted_conflicts, everything=everything)
        click.echo()


def _scope(scope: PlanScope) -> str:
    """`Only shards of node-1 and node-2, only OWNER_DOWN: all others stay where they are.`"""
    parts = []
    if scope.vacate:
        listed = [printable(node_id) for node_id in scope.vacate[:LISTED]]
        rest = len(scope.vacate) - LISTED
        parts.append(f"only shards of {', '.join(listed)}{f' and {rest:,} more nodes' if rest > 0 else ''}")
    if scope.only_reasons:
        parts.append(f"only for {', '.join(scope.only_reasons)}")
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}: all others stay where they are."


def print_moves(moves: Sequence[Move], *, everything: bool) -> None:
    """The first ones, in the order they are made in, and how many more there are."""
    listed = first(moves, everything=everything)
    further: list[tuple[str, Callable[[Move], str | None]]] = []
    if any(move.leader is not None for move in moves):
        further.append(("LEADER", _leader))
    if any(move.restore is not None for move in moves):
        further.append(("RESTORES", _restored))
    rows = [(*_move_cells(move), *(cell(move) for _, cell in further)) for move in listed]
    print_table((*_MOVES, *(heading for heading, _ in further)), rows)
    print_rest(len(moves) - len(listed))


def _move_cells(move: Move) -> tuple[object, ...]:
    owner = arrow(move.from_node_id, move.to_node_id) if move.changes_owner else move.to_node_id
    return f"{move.namespace}/{move.shard_id}", move.version, owner, move.reason


def _leader(move: Move) -> str | None:
    leader = move.leader
    return None if leader is None else arrow(leader.from_node_id, leader.to_node_id)


def _restored(move: Move) -> str | None:
    """`leader node-2, capacity 1.5, locality -, ACTIVE`"""
    restore = move.restore
    if restore is None:
        return None
    leader, locality = printable(restore.leader_id), printable(restore.locality_hint)
    return f"leader {leader}, capacity {printable(restore.capacity_hint)}, locality {locality}, {restore.status}"


def _namespace_cells(namespace: PlannedNamespace) -> Sequence[object]:
    share = 100 * namespace.moved / namespace.shard_count if namespace.shard_count else 0.0
    return namespace.name, namespace.strategy, namespace.shard_count, namespace.moved, format_percent(share)


def print_loads(loads: Sequence[NodeLoad], *, everything: bool) -> None:
    """By node, with the most between waves. Of more than `LISTED` those whose load changes most."""
    listed = loads if everything else _most_changed(loads)
    largest = max(max(load.shards_before, load.shards_after) for load in loads)
    print_table(_LOADS, [_load_cells(load, largest) for load in listed])
    print_rest(len(loads) - len(listed), " nodes, whose loads change less")


def _most_changed(loads: Sequence[NodeLoad]) -> Sequence[NodeLoad]:
    ranked = sorted(loads, key=lambda load: (-abs(load.shards_after - load.shards_before), load.node_id))
    return sorted(ranked[:LISTED], key=lambda load: load.node_id)


def _load_cells(load: NodeLoad, largest: int) -> tuple[object, ...]:
    return (
        load.node_id,
        arrow(load.shards_before, load.shards_after),
        load.shards_peak,
        arrow(load.capacity_before, load.capacity_after),
        bar(load.shards_before, load.shards_after, largest),
    )


def bar(before: int, after: int, largest: int) -> str:
    """What stays, and then what is gained or lost; as wide as the largest load of all is long."""
    if before == after == 0:
        return ""
    whole = max(1, round(_WIDTH * max(before, after) / largest))
    stays = round(_WIDTH * min(before, after) / largest)
    if before != after:
        # A change is visible, however small it is.
        stays = min(stays, whole - 1)
    return "=" * stays + ("+" if after > before else "-") * (whole - stays)


def print_violations(violations: Sequence[Violation], *, everything: bool) -> None:
    listed = first(violations, everything=everything)
    print_table(_VIOLATIONS, [(one.code, place(one), one.node_id, one.message) for one in listed])
    print_rest(len(violations) - len(listed))


def place(violation: Violation) -> str:
    """The shard, or the namespace where it is about all of it."""
    namespace, shard_id = violation.namespace, violation.shard_id
    return namespace if shard_id is None else f"{namespace}/{shard_id}"


def print_conflicts(conflicts: Sequence[Conflict], omitted: int, *, everything: bool) -> None:
    listed = first(conflicts, everything=everything)
    print_table(
        _CONFLICTS,
        [(f"{one.namespace}/{one.shard_id}", one.reason, one.change_id, one.message) for one in listed],
    )
    print_rest(len(conflicts) - len(listed) + omitted)


def first(rows: Sequence[T], *, everything: bool) -> Sequence[T]:
    return rows if everything else rows[:LISTED]


def print_rest(rest: int, what: str = "") -> None:
    """How many rows were left out, if any were."""
    if rest > 0:
        click.echo(f"and {rest:,} more{what}; --all shows them")


def summary(proposal: Proposal, move: str) -> str:
    """What the plan does, as text. `move`: the verb, "move" or "would move"."""
    if proposal.rollback is not None:
        return rollback_summary(proposal, proposal.rollback)
    if not proposal.moves:
        return _nothing(proposal)
    moved = sum(one.changes_owner for one in proposal.moves)
    percent = format_percent(100 * moved / proposal.shard_count)
    done = f"{moved:,} of {pluralized(proposal.shard_count, 'shard')} {move} ({percent})"
    if led := len(proposal.moves) - moved:
        verb = "get" if move == "move" else "would get"
        done = f"{done}, {led:,} {verb} only another leader"
    return f"{done}: {reasons(proposal.moves)}.{_waves(proposal)}{_rest(proposal)}"


def reasons(moves: Iterable[Move]) -> str:
    """`300 OWNER_DRAINING, 200 PLACEMENT_CHANGED`: the most urgent reason first."""
    counts = Counter(move.reason for move in moves)
    return ", ".join(f"{counts[reason]:,} {reason}" for reason in MoveReason if counts[reason])


def _nothing(proposal: Proposal) -> str:
    if not proposal.namespaces:
        return "Nothing to move: there is no namespace."
    if proposal.remaining_moves:
        return f"Nothing is moved: {pluralized(proposal.remaining_moves, 'move')} did not fit, see the problems above."
    if proposal.violations:
        return "Nothing to move, beside what the problems above keep where it is."
    return f"Nothing to move: {pluralized(proposal.shard_count, 'shard')}, each where it belongs or has to stay."


def _waves(proposal: Proposal) -> str:
    """Nothing for one wave, nor for plans of earlier releases."""
    return f" Within the budgets it takes {proposal.waves:,} waves." if (proposal.waves or 0) > 1 else ""


def _rest(proposal: Proposal) -> str:
    if not proposal.remaining_moves:
        return ""
    return f" {pluralized(proposal.remaining_moves, 'more move')} did not fit: plan again once these are made."


def rollback_summary(proposal: Proposal, rollback: Rollback) -> str:
    """`3 shards are given back what they had. 1 is left as it is, 2 are as before already.`"""
    count = len(proposal.moves)
    done = f"{pluralized(count, 'shard')} {_are(count)} given back what they had." if count else "Nothing to give back."
    left = len(rollback.conflicts) + rollback.omitted_conflicts
    rest = [f"{left:,} {_are(left)} left as {'it is' if left == 1 else 'they are'}"] if left else []
    rest += [f"{rollback.unchanged:,} {_are(rollback.unchanged)} as before already"] if rollback.unchanged else []
    more = proposal.remaining_moves
    rest += [f"{more:,} did not fit: roll back again once these are made"] if more else []
    return " ".join([done, *([f"{', '.join(rest)}."] if rest else [])])


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def read_move(move: Json) -> Move:
    """A move of the API."""
    return Move(
        move["namespace"],
        move["shardId"],
        int(move["version"]),
        move["fromNodeId"],
        move["toNodeId"],
        MoveReason(move["reason"]),
        leader=_read_leader(move["leader"]),
    )


def _read_leader(leader: Json | None) -> LeaderChange | None:
    return None if leader is None else LeaderChange(leader["fromNodeId"], leader["toNodeId"])


def move_document(move: Move) -> Json:
    """A move as the API has it."""
    leader = move.leader
    return {
        "namespace": move.namespace,
        "shardId": move.shard_id,
        "version": str(move.version),
        "fromNodeId": move.from_node_id,
        "toNodeId": move.to_node_id,
        "reason": str(move.reason),
        "leader": leader and {"fromNodeId": leader.from_node_id, "toNodeId": leader.to_node_id},
    }


def read_violation(violation: Json) -> Violation:
    """A violation of the API."""
    return Violation(
        violation["code"],
        violation["namespace"],
        violation["shardId"],
        violation["nodeId"],
        violation["message"],
    )
