"""The waves that are left of a plan, cut as `applyPlan` cuts them; and which change made a move."""

import asyncio
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Annotated, Any, Final, TypeAlias

import strawberry

from graph.execution.context import Info
from graph.execution.services import Services
from graph.schema.arguments import invalid
from persistence.model import queries
from persistence.model.paging import MAX_PAGE, PageRequest
from persistence.model.plans import RebalancePlan
from persistence.model.records import Change, ChangeKind, Namespace
from persistence.offload import offload
from persistence.planning import lifecycle
from persistence.planning.planner import MAX_MOVES
from persistence.planning.proposal import Move, Proposal
from persistence.planning.waves import ChangeLimit, change_limit, waves_left

DEFAULT_WAVES: Final = 20

MOST_WAVES: Final = 100

_FEW: Final = 20
"""Namespaces that are read one by one."""


@strawberry.type(description="Moves of a plan that one change would make.")
class UpcomingWave:
    first_move: int = strawberry.field(description="How many moves of the plan come before its first one.")
    move_count: int = strawberry.field(description="How many moves it has.")
    namespaces: list[str] = strawberry.field(description="The namespaces of their shards, by name.")


@dataclass(frozen=True, slots=True)
class Wave:
    """`UpcomingWave`."""

    first_move: int
    move_count: int
    namespaces: Sequence[str]


async def upcoming_waves(
    parent: strawberry.Parent[RebalancePlan],
    info: Info,
    max_moves: Annotated[
        int | None,
        strawberry.argument(
            description=f"As of `applyPlan`: no wave has more moves, 1 to {MAX_MOVES:,}, which is the default."
        ),
    ] = None,
    first: Annotated[
        int | None,
        strawberry.argument(description=f"At most so many waves, 1 to {MOST_WAVES}. {DEFAULT_WAVES} by default."),
    ] = None,
) -> list[Wave]:
    """Raises InvalidArgument."""
    size = _checked("maxMoves", max_moves, MAX_MOVES, MAX_MOVES)
    most = _checked("first", first, DEFAULT_WAVES, MOST_WAVES)
    if parent.status not in lifecycle.OPEN:
        return []
    services = info.context.services
    async with services.reading_proposals:
        proposal = await services.store.plans.proposal(parent.id)
    if proposal is None:
        return []
    made = parent.moves_made
    names = {move.namespace for move in proposal.moves[made:]}
    namespaces = await _namespaces(services, sorted(names))
    next_names = {move.namespace for move in proposal.moves[made : made + size]}
    now, later = await _limits(services, namespaces, next_names)
    return await asyncio.to_thread(_cut, proposal, made, (now, later), size, most)


def _checked(name: str, value: int | None, default: int, most: int) -> int:
    if value is not None and not 1 <= value <= most:
        raise invalid(name, f"must be between 1 and {most:,}, not {value}")
    return default if value is None else value


async def _namespaces(services: Services, names: Sequence[str]) -> Sequence[Namespace]:
    """Those of them that there are: by as many statements as names, or as pages of all."""
    reader = services.store.namespaces
    if len(names) <= _FEW:
        return [each for name in names if (each := await reader.get(name)) is not None]
    wanted, found = set(names), list[Namespace]()
    page: PageRequest[str] = PageRequest(MAX_PAGE)
    while True:
        read = await reader.page(page)
        found += [each for each in read.items if each.name in wanted]
        if not read.has_next:
            return found
        page = PageRequest(MAX_PAGE, after=read.items[-1].name)


Limits: TypeAlias = Mapping[str, ChangeLimit]


async def _limits(services: Services, namespaces: Sequence[Namespace], next_names: set[str]) -> tuple[Limits, Limits]:
    """What the next wave may move, after what the windows have seen, and what those after it may, each in a window of
    its own."""
    now, later = dict[str, ChangeLimit](), dict[str, ChangeLimit]()
    for namespace in namespaces:
        policy, recent = namespace.policy, 0
        if policy.window_moves is not None and namespace.name in next_names:
            recent, _ = await services.store.history.window_use(
                namespace.name,
                policy.window_seconds,
                min(policy.window_moves, MAX_MOVES),
                involuntary=policy.involuntary_moves_limited,
            )
        now[namespace.name] = change_limit(namespace.shard_count, policy, recent)
        later[namespace.name] = change_limit(namespace.shard_count, policy)
    return now, later


def _cut(proposal: Proposal, made: int, limits: tuple[Limits, Limits], size: int, most: int) -> list[Wave]:
    waves: list[Wave] = []
    cut = waves_left(proposal.moves, proposal.together, made, lambda number: limits[min(number, 1)], size, most)
    for moves in cut:
        waves.append(Wave(made, len(moves), sorted({move.namespace for move in moves})))
        made += len(moves)
    return waves


class AppliedMove:
    """A move of a plan and the change that made it, null for one that is left: the attributes of the move, and this."""

    __slots__ = ("_move", "made_by")

    def __init__(self, move: Move, made_by: Change | None) -> None:
        self._move = move
        self.made_by = made_by

    def __getattr__(self, name: str) -> Any:
        return getattr(self._move, name)


def made_by(parent: strawberry.Parent[Any]) -> Change | None:
    return parent.made_by if isinstance(parent, AppliedMove) else None


async def with_makers(services: Services, proposal: Proposal, page: Sequence[Move]) -> Sequence[Any]:
    """The moves of a page, each with the change that made it: a plan's changes make its moves in their order."""
    plan_id = await offload(len(proposal.moves), attrgetter("id"), proposal)
    where = queries.ChangeFilter(kinds=[ChangeKind.APPLY_PLAN], plan_id=plan_id)
    request: PageRequest[int] = PageRequest(MAX_PAGE)
    made_up_to, changes = 0, list[tuple[int, Change]]()
    numbers = {move.key: number for number, move in enumerate(proposal.moves)}
    last = max((numbers[move.key] for move in page), default=-1)
    while made_up_to <= last:
        read = await services.store.changes.page(where, request, newest_first=False)
        for change in read.items:
            made_up_to += change.rebalance.moved if change.rebalance else 0
            changes.append((made_up_to, change))
        if not read.has_next:
            break
        request = PageRequest(MAX_PAGE, after=read.items[-1].id if read.end is None else read.end)
    return [AppliedMove(move, _maker(changes, numbers[move.key])) for move in page]


def _maker(changes: Sequence[tuple[int, Change]], number: int) -> Change | None:
    """The first change after which so many moves and one were made."""
    at = bisect_right(changes, number, key=itemgetter(0))
    return changes[at][1] if at < len(changes) else None
