"""Fields of plans and of what they propose that are not simply there."""

import strawberry

from graph.connections import Connection, connection_over
from graph.context import Info
from graph.cursors import move_cursor, read_move_cursor
from graph.resolvers.arguments import After, Before, First, Last, read_page
from persistence.planning.preflight import DrainPreflight
from persistence.planning.proposal import Move, Proposal, urgency
from persistence.records import Rebalance, RebalancePlan


async def proposal(parent: strawberry.Parent[RebalancePlan], info: Info) -> Proposal | None:
    async with info.context.reading_proposals:
        return await info.context.store.plans.proposal(parent.id)


def moved_percent(parent: strawberry.Parent[RebalancePlan]) -> float:
    return Rebalance(parent.id, parent.move_count, parent.shard_count).diff_percent


def move_count(parent: strawberry.Parent[Proposal | DrainPreflight]) -> int:
    return len(parent.moves)


def moves(
    parent: strawberry.Parent[Proposal | DrainPreflight],
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> Connection[Move]:
    page = read_page(info, first, after, last, before, _read_place)
    return connection_over(parent.moves, _place, _cursor_of, page)


def _place(move: Move) -> tuple[int, str, str]:
    """What lists of moves are ordered by."""
    return urgency(move.reason), move.namespace, move.shard_id


def _read_place(cursor: str, field: str) -> tuple[int, str, str]:
    reason, key = read_move_cursor(cursor, field)
    return urgency(reason), *key


def _cursor_of(move: Move) -> str:
    return move_cursor(move.reason, move.key)
