"""Checking a database against the rules: every change, and then where every shard is now."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlalchemy.ext.asyncio import async_sessionmaker

from persistence.audit.compliance import CheckFilter, ComplianceChecker, OwnerRule, Report, RuleBreach
from persistence.errors import SchemaOutOfDate
from persistence.planning.planner import PlacementImpossible, propose
from persistence.planning.proposal import Move
from persistence.planning.snapshot import PlacementSnapshot
from persistence.postgres.audit.reader import reading
from persistence.postgres.engine import engine_on
from persistence.postgres.readers.placement import PostgresPlacement
from strategies.registry import Registry


async def check(
    url: str,
    strategies: Registry,
    where: CheckFilter,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Report:
    """`progress` is told revisions done and in all."""
    async with reading(url) as reader:
        heads = await reader.heads()
        if heads is None:
            raise SchemaOutOfDate("the stream head is missing; run 'omnirelay db upgrade'")
        checker = ComplianceChecker(heads.floor)
        report = Report(heads.floor)
        rows = reader.rows()
        async for change in reader.changes(0):
            for offence in checker.add(change, await rows.up_to(change.head_revision)):
                if where.selects(offence):
                    report.add(offence)
            progress(change.head_revision, heads.anchor.change.revision)
    report.changes = checker.changes
    snapshot = await _snapshot(url, where.namespace)
    report.knows_namespace = where.namespace is None or bool(snapshot.namespaces)
    report.shards = sum(map(len, snapshot.shards.values()))
    for move in _moves(snapshot, strategies):
        decision = checker.owners.get(move.key)
        if decision is None or not decision.by_plan:
            report.overridden += 1
            continue
        offence = RuleBreach(
            OwnerRule.PLACEMENT,
            f"{move.namespace}/{move.shard_id}",
            decision.change_id,
            decision.at,
            decision.actor,
            f"on {move.from_node_id} ({move.reason})",
            f"on {move.to_node_id}",
            "Plan a rebalance: omnirelay mesh rebalance plan",
        )
        if where.selects(offence):
            report.add(offence)
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
