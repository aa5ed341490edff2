"""Checking a database against the rules: every change, and then the owner of every shard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from sqlalchemy.ext.asyncio import async_sessionmaker

from persistence.audit.compliance import CheckFilter, ComplianceChecker, OwnerRule, Report, RuleBreach
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
    for move in _moves(snapshot, strategies):
        decision = checker.owners.get(move.key)
        if decision is not None and decision.change_id > decided:
            continue  # It was put elsewhere since.
        if decision is None or not decision.by_plan:
            report.overridden += 1
            continue
        breach = RuleBreach(
            OwnerRule.PLACEMENT,
            f"{move.namespace}/{move.shard_id}",
            decision.change_id,
            decision.at,
            decision.actor,
            f"on {move.from_node_id} ({move.reason})",
            f"on {move.to_node_id}",
            "Plan a rebalance: omnirelay mesh rebalance plan",
        )
        if where.selects(breach):
            (report.pending if checker.is_pending(move.key, decision) else report.breaches).append(breach)
    return report


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
