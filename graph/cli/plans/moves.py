"""The moves of a plan: which shard, from where to where, and why."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from graph.cli.output import Json
from graph.cli.plans.rows import first, print_rest
from graph.cli.tables import print_table
from graph.cli.text import arrow
from graph.cli.text import shown as shown_text
from persistence.planning.proposal import Move
from persistence.records import MoveReason

_COLUMNS: Final = ("SHARD", "VERSION", "OWNER", "MOVE REASON")


def print_moves(moves: Sequence[Move], *, everything: bool) -> None:
    """The most urgent ones, which is the order they come in, and how many more there are."""
    shown = first(moves, everything=everything)
    if any(move.restore is not None for move in moves):
        print_table((*_COLUMNS, "RESTORES"), [(*_cells(move), _restored(move)) for move in shown])
    else:
        print_table(_COLUMNS, [_cells(move) for move in shown])
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
    leader, locality = shown_text(restore.leader_id), shown_text(restore.locality_hint)
    return f"leader {leader}, capacity {shown_text(restore.capacity_hint)}, locality {locality}, {restore.status}"


def _cells(move: Move) -> tuple[object, ...]:
    return f"{move.namespace}/{move.shard_id}", move.version, arrow(move.from_node_id, move.to_node_id), move.reason
