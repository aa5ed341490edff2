"""Proposals of any size, as the planner would make them."""

from __future__ import annotations

from persistence.model.records import MoveReason
from persistence.planning.proposal import Move, NodeLoad, PlannedNamespace, Proposal, Violation


def move(number: int, reason: MoveReason = MoveReason.OWNER_DRAINING, namespace: str = "orders") -> Move:
    return Move(namespace, f"s{number:03}", 1, "node-1", "node-2", reason)


def proposal(
    *moves: Move, shards: int = 100, remaining: int = 0, loads: int = 2, violations: tuple[Violation, ...] = ()
) -> Proposal:
    """Of the namespaces that are in `moves`, or of `orders`; `loads` nodes, the first of which loses every move."""
    names = sorted({move.namespace for move in moves}) or ["orders"]
    gained = [len(moves) if node == 2 else 0 for node in range(1, loads + 1)]
    gained[0] = -len(moves)
    return Proposal(
        7,
        "d" * 64,
        tuple(
            PlannedNamespace(name, 1, "rendezvous", 1, "p" * 64, "d" * 32, shards // len(names), count(moves, name))
            for name in names
        ),
        moves,
        remaining,
        tuple(
            NodeLoad(f"node-{node}", shards, shards + more, float(shards), float(shards + more))
            for node, more in enumerate(gained, 1)
        ),
        violations,
    )


def count(moves: tuple[Move, ...], namespace: str) -> int:
    return sum(move.namespace == namespace for move in moves)


PINNED = Violation(
    "PINNED_TO_UNAVAILABLE",
    "orders",
    "s1",
    "node-1",
    "orders/s1 is pinned to node-1, which is DRAINING: unpin it to move it",
)
UNPLACED = Violation("NO_PLACEMENT", "billing", None, None, "no node is eligible")
