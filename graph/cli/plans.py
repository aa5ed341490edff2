"""A proposal as tables: its moves, what they do to namespaces and nodes, and what they leave undone.

A plan named on the command line: by its id, or by a file with its document.

What every node owns before and after, with a bar to compare them by.

The moves of a plan: which shard, from where to where, and why.

Options of whatever computes a plan or shows one.

A plan as the server keeps it.

What a rollback leaves as it is, and what it gives back, in tables and in a sentence.

As many rows as a person reads.

What a plan cannot put right.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click

from graph.cli.errors import UPDATE_THE_OLDER, ApiClient, Exit, Failure
from graph.cli.output import arrow, format_percent, pluralized, print_table, printable
from graph.client.records import Json
from persistence.model.fields import MAX_SHARDS_PER_CHANGE, plan_id_problem
from persistence.model.records import MoveReason
from persistence.planning.proposal import (
    Conflict,
    Move,
    NodeLoad,
    PlannedNamespace,
    Proposal,
    Rollback,
    Violation,
    document_id,
    read_proposal,
)

_LIST_PLANS: Final = "Which plans there are: omnirelay mesh rebalance list"

_NAMESPACES: Final = ("NAMESPACE", "STRATEGY", "SHARDS", "MOVED", "MOVED %")


def proposal_of(document: str) -> Proposal:
    """From a document the server sent. Raises Failure if it is none that this program knows."""
    try:
        return read_proposal(document)
    except (ValueError, KeyError, TypeError) as error:
        message = f"The server's plan cannot be read ({type(error).__name__}: {error})."
        raise Failure(Exit.INTERNAL, message, [UPDATE_THE_OLDER]) from error


def print_proposal(proposal: Proposal, *, everything: bool) -> None:
    """Tables with a blank line after each; nothing where there is nothing to say."""
    if proposal.moves:
        print_moves(proposal.moves, everything=everything)
        click.echo()
    if len(proposal.namespaces) > 1:
        print_table(_NAMESPACES, [_namespace_cells(namespace) for namespace in proposal.namespaces])
        click.echo()
    if proposal.moves:
        print_loads(proposal.loads, everything=everything)
        click.echo()
    if proposal.violations:
        print_violations(proposal.violations, everything=everything)
        click.echo()
    if proposal.rollback is not None and proposal.rollback.conflicts:
        print_conflicts(proposal.rollback.conflicts, proposal.rollback.omitted_conflicts, everything=everything)
        click.echo()


def summary(proposal: Proposal, move: str) -> str:
    """In a sentence or two. `move`: the verb, "move" or "would move"."""
    if proposal.rollback is not None:
        return rollback_summary(proposal, proposal.rollback)
    if not proposal.moves:
        return _nothing(proposal)
    moved, percent = len(proposal.moves), format_percent(proposal.moved_percent)
    return (
        f"{moved:,} of {pluralized(proposal.shard_count, 'shard')} {move} ({percent}): "
        f"{reasons(proposal.moves)}.{_rest(proposal)}"
    )


def _nothing(proposal: Proposal) -> str:
    if not proposal.namespaces:
        return "Nothing to move: there is no namespace."
    if proposal.violations:
        return "Nothing to move, beside what the problems above keep where it is."
    return f"Nothing to move: {pluralized(proposal.shard_count, 'shard')}, each where it belongs or has to stay."


def _rest(proposal: Proposal) -> str:
    if not proposal.remaining_moves:
        return ""
    return f" {pluralized(proposal.remaining_moves, 'more move')} did not fit: plan again once these are made."


def _namespace_cells(namespace: PlannedNamespace) -> Sequence[object]:
    share = 100 * namespace.moved / namespace.shard_count if namespace.shard_count else 0.0
    return namespace.name, namespace.strategy, namespace.shard_count, namespace.moved, format_percent(share)


@dataclass(frozen=True, slots=True)
class NamedPlan:
    """`file` is where the id was taken from; null if it was given as it is."""

    id: str
    file: str | None = None


def named_plan(given: str) -> NamedPlan:
    """Raises Failure for what is neither the id of a plan nor a file with one. `-` is stdin.

    A document names itself, so whatever was changed in a file, its id is another plan's: of none that is kept.
    """
    if plan_id_problem(given) is None:
        return NamedPlan(given)
    name = "stdin" if given == "-" else printable(given)
    try:
        with click.open_file(given, "rb") as file:
            document = file.read().rstrip(b"\r\n").decode()
        read_proposal(document)
    except FileNotFoundError:
        message = f"{name} is neither the id of a plan, which has 32 hex digits, nor a file."
        raise Failure(Exit.INVALID, message, [_LIST_PLANS]) from None
    except OSError as error:
        raise Failure(Exit.INVALID, f"{name} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError):
        advice = "'omnirelay mesh rebalance plan --json' writes one."
        raise Failure(Exit.INVALID, f"{name} is not a plan.", [advice]) from None
    return NamedPlan(document_id(document), name)


def no_such_plan(plan: NamedPlan) -> Failure:
    """The server keeps no plan of this id."""
    if plan.file is None:
        return Failure(Exit.NOT_FOUND, f"There is no plan {plan.id}.", [_LIST_PLANS])
    return Failure(
        Exit.NOT_FOUND,
        f"{plan.file} is not a plan of this server: there is none with its content ({plan.id}).",
        [
            "Either it was edited after it was written, or it is another server's, or it was simulated, not planned.",
            "Plan again with 'omnirelay mesh rebalance plan', and apply what comes out.",
        ],
    )


_LOAD_COLUMNS: Final = ("NODE", "SHARDS", "CAPACITY", "LOAD (= kept, + gained, - lost)")

_WIDTH: Final = 30


def print_loads(loads: Sequence[NodeLoad], *, everything: bool) -> None:
    """By node. Where they are too many to read, those whose load changes most."""
    shown = loads if everything else _most_changed(loads)
    largest = max(max(load.shards_before, load.shards_after) for load in loads)
    print_table(_LOAD_COLUMNS, [_load_cells(load, largest) for load in shown])
    print_rest(len(loads) - len(shown), " nodes, whose loads change less")


def bar(before: int, after: int, largest: int) -> str:
    """What stays, and then what is gained or lost; as wide as the largest load of all is long."""
    if before == after == 0:
        return ""
    whole = max(1, round(_WIDTH * max(before, after) / largest))
    kept = round(_WIDTH * min(before, after) / largest)
    if before != after:
        # A change is seen, however small it is.
        kept = min(kept, whole - 1)
    return "=" * kept + ("+" if after > before else "-") * (whole - kept)


def _most_changed(loads: Sequence[NodeLoad]) -> Sequence[NodeLoad]:
    ranked = sorted(loads, key=lambda load: (-abs(load.shards_after - load.shards_before), load.node_id))
    return sorted(ranked[:LISTED], key=lambda load: load.node_id)


def _load_cells(load: NodeLoad, largest: int) -> tuple[object, ...]:
    return (
        load.node_id,
        arrow(load.shards_before, load.shards_after),
        arrow(load.capacity_before, load.capacity_after),
        bar(load.shards_before, load.shards_after, largest),
    )


_MOVE_COLUMNS: Final = ("SHARD", "VERSION", "OWNER", "MOVE REASON")


def print_moves(moves: Sequence[Move], *, everything: bool) -> None:
    """The most urgent ones, which is the order they come in, and how many more there are."""
    shown = first(moves, everything=everything)
    if any(move.restore is not None for move in moves):
        print_table((*_MOVE_COLUMNS, "RESTORES"), [(*_move_cells(move), _restored(move)) for move in shown])
    else:
        print_table(_MOVE_COLUMNS, [_move_cells(move) for move in shown])
    print_rest(len(moves) - len(shown))


def reasons(moves: Iterable[Move]) -> str:
    """`300 OWNER_DRAINING, 200 PLACEMENT_CHANGED`: the most urgent reason first."""
    counts = Counter(move.reason for move in moves)
    return ", ".join(f"{counts[reason]:,} {reason}" for reason in MoveReason if counts[reason])


def read_move(move: Json) -> Move:
    """A move of the API."""
    return Move(
        move["namespace"],
        move["shardId"],
        int(move["version"]),
        move["fromNodeId"],
        move["toNodeId"],
        MoveReason(move["reason"]),
    )


def move_document(move: Move) -> Json:
    """A move as the API has it."""
    return {
        "namespace": move.namespace,
        "shardId": move.shard_id,
        "version": str(move.version),
        "fromNodeId": move.from_node_id,
        "toNodeId": move.to_node_id,
        "reason": str(move.reason),
    }


def _restored(move: Move) -> str | None:
    """`leader node-2, capacity 1.5, locality -, ACTIVE`"""
    restore = move.restore
    if restore is None:
        return None
    leader, locality = printable(restore.leader_id), printable(restore.locality_hint)
    return f"leader {leader}, capacity {printable(restore.capacity_hint)}, locality {locality}, {restore.status}"


def _move_cells(move: Move) -> tuple[object, ...]:
    return f"{move.namespace}/{move.shard_id}", move.version, arrow(move.from_node_id, move.to_node_id), move.reason


F = TypeVar("F", bound=Callable[..., Any])


def planning_options(command: F) -> F:
    """--namespace, --max-moves."""
    command = click.option(
        "--max-moves",
        type=click.IntRange(1, MAX_SHARDS_PER_CHANGE),
        help="At most this many moves, the most urgent ones.",
    )(command)
    return click.option("--namespace", multiple=True, help="Only shards of this namespace. May be repeated.")(command)


def all_option(command: F) -> F:
    """--all, for what is shown to people; JSON has everything anyway."""
    return click.option("--all", "everything", is_flag=True, help="Show every row, however many.")(command)


def planning_input(namespace: tuple[str, ...], max_moves: int | None) -> Json:
    """What the inputs of planRebalance and simulateRebalance have in common. Null stands for all."""
    return {"namespaces": list(namespace) or None, "maxMoves": max_moves}


def read_plan(api: ApiClient, plan: NamedPlan) -> Json:
    """With its proposal. Raises Failure if there is none."""
    found = api.execute("RebalancePlan", {"id": plan.id})["rebalancePlan"]
    if found is None:
        raise no_such_plan(plan)
    return dict(found)


_CONFLICT_COLUMNS: Final = ("LEFT AS IT IS", "BECAUSE", "CHANGE", "WHY")


def print_conflicts(conflicts: Sequence[Conflict], omitted: int, *, everything: bool) -> None:
    shown = first(conflicts, everything=everything)
    print_table(
        _CONFLICT_COLUMNS,
        [(f"{one.namespace}/{one.shard_id}", one.reason, one.change_id, one.message) for one in shown],
    )
    print_rest(len(conflicts) - len(shown) + omitted)


def rollback_summary(proposal: Proposal, rollback: Rollback) -> str:
    """`3 shards are given back what they had. 1 is left as it is, 2 are as before already.`"""
    count = len(proposal.moves)
    given = (
        f"{pluralized(count, 'shard')} {_are(count)} given back what they had." if count else "Nothing to give back."
    )
    left = len(rollback.conflicts) + rollback.omitted_conflicts
    rest = [f"{left:,} {_are(left)} left as {'it is' if left == 1 else 'they are'}"] if left else []
    rest += [f"{rollback.unchanged:,} {_are(rollback.unchanged)} as before already"] if rollback.unchanged else []
    more = proposal.remaining_moves
    rest += [f"{more:,} did not fit: roll back again once these are made"] if more else []
    return " ".join([given, *([f"{', '.join(rest)}."] if rest else [])])


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


T = TypeVar("T")

LISTED: Final = 20


def print_rest(rest: int, what: str = "") -> None:
    """How many rows were left out, if any were."""
    if rest > 0:
        click.echo(f"and {rest:,} more{what}; --all shows them")


def first(rows: Sequence[T], *, everything: bool) -> Sequence[T]:
    return rows if everything else rows[:LISTED]


_VIOLATION_COLUMNS: Final = ("PROBLEM", "OF", "NODE", "WHY")


def print_violations(violations: Sequence[Violation], *, everything: bool) -> None:
    shown = first(violations, everything=everything)
    print_table(_VIOLATION_COLUMNS, [(one.code, place(one), one.node_id, one.message) for one in shown])
    print_rest(len(violations) - len(shown))


def place(violation: Violation) -> str:
    """The shard, or the namespace where it is about all of it."""
    namespace, shard_id = violation.namespace, violation.shard_id
    return namespace if shard_id is None else f"{namespace}/{shard_id}"


def read_violation(violation: Json) -> Violation:
    """A violation of the API."""
    return Violation(
        violation["code"],
        violation["namespace"],
        violation["shardId"],
        violation["nodeId"],
        violation["message"],
    )
