"""Proposals: what a plan does, or would do, as tables and as a summary.

Tables have the first rows, unless all are requested: the most urgent moves, the nodes whose loads change most.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

import click

from graph.cli.errors import UPDATE_THE_OLDER, Exit, Failure
from graph.cli.output import arrow, format_percent, pluralized, print_json_text, print_table, printable
from graph.client.records import Json
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
    read_proposal,
)
from persistence.planning.scope import PlanScope
from persistence.planning.waves import loads_with_peaks

T = TypeVar("T")

LISTED: Final = 20
"""Rows of a table, unless all are requested."""

_WIDTH: Final = 30
"""Characters of the longest bar."""

_MOVES: Final = ("SHARD", "VERSION", "OWNER", "MOVE REASON")

_NAMESPACES: Final = ("NAMESPACE", "STRATEGY", "SHARDS", "MOVED", "MOVED %")

_LOADS: Final = ("NODE", "SHARDS", "PEAK", "CAPACITY", "LOAD (= kept, + gained, - lost)")

_VIOLATIONS: Final = ("PROBLEM", "ABOUT", "NODE", "WHY")

_CONFLICTS: Final = ("SHARD", "PROBLEM", "CHANGE", "WHY")


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
