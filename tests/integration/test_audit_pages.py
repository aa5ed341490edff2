"""Audits hold no snapshot from one page to the next, and commits and compactions go on while they read."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from persistence.audit.compliance import CheckFilter
from persistence.audit.export import ExportFilter, JsonLines, line
from persistence.audit.export_verification import verify_lines
from persistence.postgres.audit.check import check
from persistence.postgres.audit.export import export
from persistence.postgres.audit.reader import ATTEMPTS, AuditReader, Heads, StaleHeads
from persistence.postgres.audit.verify import verify
from persistence.postgres.compaction import PostgresRetention
from persistence.postgres.store import open_store
from strategies.registry import Registry
from tests.support.audit_pages import before_each_statement, small_pages
from tests.support.audited_mesh import shown
from tests.support.mesh import because
from tests.support.planned_mesh import PlannedMesh


@pytest.fixture
async def mesh(audited_url: str) -> AsyncIterator[PlannedMesh]:
    async with open_store(audited_url) as store:
        yield PlannedMesh(store)


async def verified(url: str) -> None:
    assert shown(await verify(url, processes=1)) == []


async def exported(url: str) -> None:
    lines: list[bytes] = []
    manifest = await export(url, ExportFilter(), JsonLines(), lines.append)
    lines.append(line(manifest.document()))
    assert verify_lines(b"".join(lines).splitlines(keepends=True)).findings.listed == []


async def checked(url: str) -> None:
    await check(url, Registry(), CheckFilter())


AUDITS = {"verify": verified, "export": exported, "check": checked}
Audit = Callable[[str], Awaitable[None]]


@pytest.mark.parametrize("audit", AUDITS.values(), ids=AUDITS)
async def test_nothing_is_held_between_two_pages(
    audited_url: str, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even an xmin: what it holds back is every row that any transaction leaves behind."""
    seen: list[tuple[Any, ...]] = []
    observer = await asyncpg.connect(audited_url)

    async def observe(connection: asyncpg.Connection) -> None:
        seen.append(
            await observer.fetchrow(
                "SELECT backend_xmin, backend_xid, xact_start FROM pg_stat_activity WHERE pid = $1",
                connection.get_server_pid(),
            )
        )

    small_pages(monkeypatch, 7)
    before_each_statement(monkeypatch, observe)
    try:
        await audit(audited_url)
    finally:
        await observer.close()
    assert len(seen) > 10
    assert set(map(tuple, seen)) == {(None, None, None)}


@pytest.mark.parametrize("processes", [1, 2])
async def test_what_is_committed_meanwhile_is_not_mistaken_for_tampering(
    audited_url: str, mesh: PlannedMesh, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards go from one table to the other, before and behind the page that is read; nodes, namespaces and plans
    come and change."""
    rng = random.Random(15)
    done = statements = 0

    async def change(_: asyncpg.Connection) -> None:
        nonlocal done, statements
        statements += 1
        if statements % 2:
            return  # The log would grow faster than it is read.
        done += 1
        name = f"s{rng.randrange(10)}"
        shard = await mesh.shard(name)
        if shard is None:
            await mesh.created(name)
        elif rng.random() < 0.6:
            await mesh.delete(shard)
        else:
            await mesh.updated(shard, owner_node_id=f"node-{done}")
        if done % 5 == 0:
            await mesh.configure(f"space-{done}")
            await mesh.registered(f"node-x{done}")
        if done % 7 == 0:
            await mesh.plan()

    small_pages(monkeypatch, 5)
    before_each_statement(monkeypatch, change)
    for _ in range(2):
        head = (await mesh.changes())[-1].id
        verdict = await verify(audited_url, processes=processes)
        assert shown(verdict) == []
        assert head < verdict.end.change.change_id == verdict.changes
        assert verdict.changes < (await mesh.changes())[-1].id
    await exported(audited_url)
    await checked(audited_url)
    assert done > 50


async def test_what_was_tampered_with_is_found_while_others_write(
    audited_url: str, mesh: PlannedMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await asyncpg.connect(audited_url)
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute("UPDATE shards SET leader_id = 'mallory' WHERE shard_id = 's2'")
        await connection.execute("UPDATE namespace_heads SET digest_low = 1 WHERE name = 'search'")
        await connection.execute("DELETE FROM shard_tombstones")
    finally:
        await connection.close()
    count = 0

    async def write(_: asyncpg.Connection) -> None:
        nonlocal count
        count += 1
        shard = await mesh.shard("s1")
        assert shard is not None
        await mesh.updated(shard, owner_node_id=f"node-{count}")

    small_pages(monkeypatch, 3)
    before_each_statement(monkeypatch, write)
    found = (await verify(audited_url, processes=1)).findings.listed
    assert {(finding.table, finding.key) for finding in found} == {
        ("shards", "billing/s2"),
        ("namespace_heads", "search"),
        ("shards", "billing/s6"),
    }


class Compacting:
    """Compacts history before one statement of an audit."""

    def __init__(self, url: str, at: int, floor: int, times: int = 1) -> None:
        self._url, self._at, self._floor, self._times = url, at, floor, times
        self.statements = 0
        self.done = 0

    async def __call__(self, _: asyncpg.Connection) -> None:
        self.statements += 1
        if self.statements >= self._at and self.done < self._times:
            assert await PostgresRetention(self._url).compact(self._floor + self.done, because("storage")) is not None
            self.done += 1


@pytest.mark.parametrize(("processes", "step"), [(1, 1), (2, 5)])
async def test_a_compaction_at_any_page_is_no_finding(
    audited_url: str, processes: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pages(monkeypatch, 5)
    begun: list[int] = []
    read_heads = AuditReader.heads

    async def heads(reader: AuditReader) -> Heads | None:
        begun[-1] += 1
        return await read_heads(reader)

    monkeypatch.setattr(AuditReader, "heads", heads)
    for at in range(1, 25, step):
        begun.append(0)
        with monkeypatch.context() as patched:
            compacting = Compacting(audited_url, at, floor=at)
            before_each_statement(patched, compacting)
            verdict = await verify(audited_url, processes=processes)
        assert shown(verdict) == []
        assert compacting.done == 1
    assert set(begun) == {1, 2}


async def test_verification_does_not_begin_again_for_ever(audited_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    floors = iter(range(1, 25))
    read_heads = AuditReader.heads

    async def heads(reader: AuditReader) -> Heads | None:
        found = await read_heads(reader)
        assert await PostgresRetention(audited_url).compact(next(floors), because("storage")) is not None
        return found

    monkeypatch.setattr(AuditReader, "heads", heads)
    for audit in (verified, checked):
        first = next(floors)
        with pytest.raises(StaleHeads, match=r"history was compacted up to revision \d+ .* run this again"):
            await audit(audited_url)
        assert next(floors) == first + ATTEMPTS + 1


async def test_an_export_is_whole_or_none(audited_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that were written are not missed where they are compacted away after that."""
    small_pages(monkeypatch, 5)
    whole = broken = 0
    for at in range(1, 25, 2):
        with monkeypatch.context() as patched:
            compacting = Compacting(audited_url, at, floor=at)
            before_each_statement(patched, compacting)
            try:
                await exported(audited_url)
                whole += compacting.done
            except StaleHeads:
                broken += 1
    assert whole > 2
    assert broken > 2
