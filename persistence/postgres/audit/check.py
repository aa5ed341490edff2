"""Checking a database against the rules: every change, and then the owner of every shard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from sqlalchemy.ext.asyncio import async_sessionmaker

from persistence.audit.compliance import (
    CheckFilter,
    ComplianceChecker,
    OwnerDecision,
    OwnerRule,
    Report,
    RuleBreach,
)
from persistence.model.records import MoveReason, Node, NodeStatus
from persistence.planning.planner import PlacementImpossible, propose
from persistence.planning.proposal import Move
from persistence.planning.snapshot import PlacementSnapshot
from persistence.postgres.audit.reader import open_reader, with_current_heads
from persistence.postgres.database import head_missing
from persistence.postgres.engine import engine_on
from persistence.postgres.readers.placement import PostgresPlacement
from strategies.registry import Registry


async def check(
    url: str,
    strategies: Registry,
    where: CheckFilter,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Report:
    """`progress` is called with revisions done and in all.

    Of what was committed up to the beginning; commits and compactions go on meanwhile. Raises StoreError; StaleHeads if
    there are too many compactions.
    """
    return await with_current_heads(partial(_check, url, strategies, where, progress))


async def _check(url: str, strategies: Registry, where: CheckFilter, progress: Callable[[int, int], None]) -> Report:
    # Before the log is read: then every decision is in it that put a shard where it is.
    snapshot = await _snapshot(url, where.namespace)
    decided = 0
    async with open_reader(url) as reader:
        heads = await reader.heads()
        if heads is None:
            raise head_missing()
        checker = ComplianceChecker(heads.floor)
        report = Report(heads.floor)
        rows = reader.rows(None, heads.newest.revision, heads.mark)
        async for change in reader.changes(0, heads.newest.change_id):
            for breach in checker.add(change, await rows.up_to(change.head_revision)):
                if where.selects(breach):
                    report.add(breach)
            if change.head_revision <= snapshot.position.revision:
                decided = change.id
            progress(change.head_revision, heads.end.change.revision)
    report.changes = checker.changes
    report.namespace_exists = where.namespace is None or bool(snapshot.namespaces)
    report.shards = sum(map(len, snapshot.shards.values()))
    _check_places(report, where, _moves(snapshot, strategies), checker, decided, snapshot)
    return report


def _check_places(
    report: Report,
    where: CheckFilter,
    moves: Iterable[Move],
    checker: ComplianceChecker,
    decided: int,
    snapshot: PlacementSnapshot,
) -> None:
    """Owners and leaders that a plan made now would replace. `decided` is the newest change that the snapshot shows."""
    nodes = {node.node_id: node for node in snapshot.nodes}
    for move in moves:
        owned, led = checker.owners.get(move.key), checker.leaders.get(move.key)
        if any(decision is not None and decision.change_id > decided for decision in (owned, led)):
            continue  # It was put elsewhere since.
        if move.changes_owner and (owned is None or not owned.by_plan):
            report.overridden += 1
        elif move.changes_owner and owned is not None:
            where_it_is = f"on {move.from_node_id} ({move.reason})"
            breach = _breach(OwnerRule.PLACEMENT, move, owned, where_it_is, f"on {move.to_node_id}")
            _add(report, where, breach, is_pending=checker.is_pending(move.key, owned))
        if move.leader is not None and led is not None and (unfit := _unfit(move, nodes)) is not None:
            leader = move.leader.to_node_id or "no node"
            actual = f"led by {move.leader.from_node_id}, which {unfit}"
            breach = _breach(OwnerRule.LEADER, move, led, actual, f"led by {leader}")
            _add(report, where, breach, is_pending=checker.have_nodes_changed_since(led))


def _add(report: Report, where: CheckFilter, breach: RuleBreach, *, is_pending: bool) -> None:
    if where.selects(breach):
        report.pending.append(breach) if is_pending else report.add(breach)


def _breach(rule: OwnerRule, move: Move, decision: OwnerDecision, actual: str, allowed: str) -> RuleBreach:
    return RuleBreach(
        rule,
        f"{move.namespace}/{move.shard_id}",
        decision.change_id,
        decision.at,
        decision.actor,
        actual,
        allowed,
        "Plan a rebalance: omnirelay mesh rebalance plan",
    )


def _unfit(move: Move, nodes: Mapping[str, Node]) -> str | None:
    """What keeps the leader's node from leading; null where the leader only follows the owner."""
    node = None if move.leader is None else nodes.get(move.leader.from_node_id)
    if node is None:
        return "is not registered"
    if node.status is not NodeStatus.ACTIVE:
        return None if node.status is NodeStatus.CORDONED else f"is {node.status}"
    if move.changes_owner and node.node_id == move.from_node_id and move.reason is not MoveReason.OWNER_INELIGIBLE:
        return None
    return "the namespace's selector does not match"


async def _snapshot(url: str, namespace: str | None) -> PlacementSnapshot:
    engine = engine_on(url, isolation_level="AUTOCOMMIT")
    try:
        return await PostgresPlacement(async_sessionmaker(engine)).snapshot(None if namespace is None else [namespace])
    finally:
        await engine.dispose()


def _moves(snapshot: PlacementSnapshot, strategies: Registry) -> Iterator[Move]:
    """What a plan made now would move: shards that are neither where their strategy has them nor pinned."""
    try:
        yield from propose(snapshot, strategies).moves
    except PlacementImpossible:
        return
