"""A mesh with everything in it that the audit log covers, and a verifier of what a transaction sees."""

from __future__ import annotations

import json
from collections.abc import Sequence

import asyncpg

from persistence.audit.checkpoints import Checkpoint, Verdict
from persistence.commands.shards import CreateShards
from persistence.model.outcomes import NotFound
from persistence.model.records import ShardStatus
from persistence.postgres.audit.reader import AuditReader
from persistence.postgres.audit.verify import verify_on
from tests.support.mesh import SEARCH, because, new, patch
from tests.support.planned_mesh import PlannedMesh


async def fill_audit_log(mesh: PlannedMesh, rounds: int = 4) -> None:
    """Changes of every kind but a compaction, and refusals."""
    await mesh.configure(SEARCH, strategy="locality", parameters={"zoneBoost": 7, "mode": "strict"})
    await mesh.registered("node-a", "node-b", labels={"disk": "ssd"})
    why = because("Grüße 🚚", change_ticket="CHG-1", metadata={"b": [1, 2.5, None], "a": "ä"})
    shards = list((await mesh.create(*(new(f"s{number}") for number in range(8)), change=why)).shards)
    await mesh.create(new("t1", namespace=SEARCH), new("t2", namespace=SEARCH))
    for number in range(rounds):
        shards[0] = await mesh.updated(shards[0], owner_node_id=f"node-{number}", capacity_hint=0.1 + number)
        moved = await mesh.update(
            *(patch(shard, status=ShardStatus.PAUSED) for shard in shards[1:4]),
            change=because(f"pause {number}", change_ticket=f"CHG-{number}", idempotency_key=f"k{number}"),
        )
        shards[1:4] = moved.shards
        refused = CreateShards([new(f"s{number}", namespace="nowhere")], because(f"try {number}", actor="bob"))
        assert isinstance(await mesh.execute(refused), NotFound)
    await mesh.delete(shards[7], change=because("gone", metadata=0))
    await mesh.delete(shards[6])
    await mesh.create(new("s7"))
    await mesh.configure(strategy="ring", expected=1)
    await mesh.mark("node-a", zone="eu-1", weight=7)
    await mesh.apply((await mesh.plan()).plan, change=because("rebalance", change_ticket="CHG-9"))


async def verified(connection: asyncpg.Connection, anchor: Checkpoint | None = None) -> Verdict:
    """What this connection sees, uncommitted edits and all."""
    async with connection.transaction():
        return await verify_on(AuditReader(connection), checkpoint=anchor)


def covers(key: str, sought: str | int) -> bool:
    """Does the key of a finding name this row, alone or in a range?"""
    first, _, last = key.partition("..")
    if first.isdigit() and str(sought).isdigit():
        return int(first) <= int(sought) <= int(last or first)
    return key == str(sought)


def shown(verdict: Verdict) -> Sequence[str]:
    return [json.dumps(str(finding), ensure_ascii=False) for finding in verdict.findings.listed]
