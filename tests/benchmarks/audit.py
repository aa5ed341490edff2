"""`python -m tests.benchmarks.audit`: verifying and exporting the audit log of a large store.

The log is made here and copied in: rows as the store writes them, in a chain that holds. The limit is what the same
server gives of the same rows to a client that throws them away.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import asyncpg

import migrations
from graph.embedded_postgres.server import start_embedded_postgres
from persistence.audit.export import Csv, ExportFilter, ExportForm, JsonLines, line
from persistence.audit.export_verification import verify_lines
from persistence.codec import hash_chain as audit
from persistence.codec.encoding import digest_term, shard_checksum
from persistence.codec.images import changed_fields, write_image
from persistence.commands.command import ChangeRequest
from persistence.commands.namespaces import ConfigureNamespace
from persistence.model.records import DiffKind, ShardContent, ShardKey, ShardStatus
from persistence.postgres.audit.export import export
from persistence.postgres.audit.verify import verify
from persistence.postgres.engine import engine_on
from persistence.postgres.partitions import append
from persistence.postgres.rows import HALVES
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from tests.benchmarks.report import Report, say

NAMESPACES: Final = 100
SHARDS: Final = 10_000
CHANGE: Final = ChangeRequest("bench", "measure", "CHG-1")
VERIFY_TARGET: Final = 100_000
EXPORT_TARGET: Final = 50_000
CHUNK: Final = 20_000

HISTORY: Final = (
    "revision",
    "change_id",
    "namespace",
    "shard_id",
    "version",
    "kind",
    "changed_fields",
    "owner_node_id",
    "previous_owner_node_id",
    "previous_revision",
    "previous_updated_at",
    "created_at",
    "previous",
    "current",
)
CHANGES: Final = (
    "id",
    "kind",
    "actor",
    "reason",
    "change_ticket",
    "namespaces",
    "head_revision",
    "shard_count",
    "committed_at",
    "content_digest",
    "hash",
)


class Log:
    """Writes the rows of a log that goes on from a head: each shard moves round and round between ten nodes."""

    def __init__(self, change_id: int, link: bytes, rows: int, rows_per_change: int, begins: datetime) -> None:
        self.change_id = change_id
        self.link = link
        self.revision = 0
        self.committed_at = begins
        self._rows = rows
        self._each = rows_per_change
        self.shards: dict[ShardKey, tuple[ShardContent, int, str, str, datetime, datetime, int]] = {}

    def chunks(self) -> Iterator[tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]]:
        changes: list[tuple[Any, ...]] = []
        rows: list[tuple[Any, ...]] = []
        while self.revision < self._rows:
            self._add(changes, rows)
            if len(rows) >= CHUNK:
                yield changes, rows
                changes, rows = [], []
        yield changes, rows

    def _add(self, changes: list[tuple[Any, ...]], rows: list[tuple[Any, ...]]) -> None:
        self.change_id += 1
        self.committed_at += timedelta(milliseconds=3)
        digests, namespaces = [], set()
        count = min(self._each, self._rows - self.revision)
        for _ in range(count):
            self.revision += 1
            row, digest = self._row()
            rows.append(row)
            digests.append(digest)
            namespaces.add(row[2])
        kind = "UPDATE_SHARDS" if rows[-1][5] == "UPDATED" else "CREATE_SHARDS"
        content = audit.content_digest(kind, CHANGE.actor, CHANGE.reason, CHANGE.change_ticket, None, None, digests)
        place = (self.change_id, self.revision, count, self.committed_at)
        self.link = audit.chain_hash(self.link, *place, content)
        who = (CHANGE.actor, CHANGE.reason, CHANGE.change_ticket)
        changes.append((place[0], kind, *who, sorted(namespaces), *place[1:], content, self.link))

    def _row(self) -> tuple[tuple[Any, ...], bytes]:
        number = self.revision % SHARDS
        key = ShardKey(f"ns{number % NAMESPACES}", f"shard-{number:05}")
        before = self.shards.get(key)
        version = 1 if before is None else before[1] + 1
        owner = f"node-{version % 10}"
        content = ShardContent("rendezvous", owner, None, 1.0, None, ShardStatus.ACTIVE, None, CHANGE.change_ticket)
        checksum = shard_checksum(key, content)
        image = write_image(key, content, version, version, checksum)
        kind = DiffKind.CREATED if before is None else DiffKind.UPDATED
        fields = list(changed_fields(before[0] if before else None, content))
        previous, created_at, updated_at, revision = before[3:] if before else (None, self.committed_at, None, None)
        digest = audit.row_digest(kind, previous, revision, updated_at, None if before is None else created_at, image)
        self.shards[key] = (content, version, checksum, image, created_at, self.committed_at, self.revision)
        owners = (owner, None if before is None else before[0].owner_node_id)
        row = (self.revision, self.change_id, *key, version, kind.value, fields, *owners)
        return (*row, revision, updated_at, created_at, previous, image), digest


async def fill(url: str, rows: int, rows_per_change: int) -> None:
    async with open_store(url) as store:
        writer = CommandExecutor(store.unit_of_work)
        for number in range(NAMESPACES):
            await writer.execute(ConfigureNamespace(f"ns{number}", "rendezvous", {}, 0, CHANGE))
    await _make_room(url, rows)
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET session_replication_role = replica")
        head = await connection.fetchrow("SELECT change_id, hash, committed_at FROM stream_head")
        assert head is not None
        log = Log(head[0], head[1], rows, rows_per_change, head[2])
        for changes, history in log.chunks():
            await connection.copy_records_to_table("changes", records=changes, columns=CHANGES)
            await connection.copy_records_to_table("shard_history", records=history, columns=HISTORY)
            say(f"  made {log.revision:,} of {rows:,} rows")
        await _fill_tables(connection, log)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


async def _make_room(url: str, rows: int) -> None:
    """Partitions, which servers make ahead of their own changes."""
    engine = engine_on(url, command_timeout=None, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            while (await append(connection)).after_last <= rows:
                pass
    finally:
        await engine.dispose()


async def _fill_tables(connection: asyncpg.Connection, log: Log) -> None:
    columns = (
        "namespace shard_id strategy owner_node_id capacity_hint status change_ticket version owner_epoch checksum"
    )
    records, digests = [], dict.fromkeys((f"ns{number}" for number in range(NAMESPACES)), (0, 0))
    for key, (content, version, checksum, _, created_at, updated_at, revision) in log.shards.items():
        what = (content.strategy, content.owner_node_id, content.capacity_hint, content.status.value)
        counters = (content.change_ticket, version, version, checksum, revision, created_at, updated_at)
        records.append((*key, *what, *counters))
        digest, count = digests[key.namespace]
        digests[key.namespace] = (digest ^ digest_term(key.shard_id, version, checksum), count + 1)
    named = [*columns.split(), "revision", "created_at", "updated_at"]
    await connection.copy_records_to_table("shards", records=records, columns=named)
    for name, (digest, count) in digests.items():
        await connection.execute(
            "UPDATE namespace_heads SET digest_high = $2, digest_low = $3, shard_count = $4, revision ="
            " (SELECT max(c.head_revision) FROM changes AS c WHERE c.namespaces @> ARRAY[$1]::text[])"
            " WHERE name = $1",
            name,
            *HALVES.unpack(digest.to_bytes(16)),
            count,
        )
    await connection.execute(
        "UPDATE stream_head SET change_id = $1, revision = $2, hash = $3, committed_at = $4",
        log.change_id,
        log.revision,
        log.link,
        log.committed_at,
    )


async def reading_rate(url: str) -> float:
    """Rows a second that one backend gives to a client that throws them away."""
    connection = await asyncpg.connect(url)
    try:

        async def thrown_away(_: bytes) -> None:
            pass

        began = perf_counter()
        said = await connection.copy_from_query("SELECT * FROM shard_history", output=thrown_away)
        return int(said.split()[1]) / (perf_counter() - began)
    finally:
        await connection.close()


def processor_seconds() -> float:
    """Of this process and of those it has waited for: on a busy machine the figure to compare."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


async def measure(url: str, rows: int, rows_per_change: int, report: Report, folder: Path) -> None:
    limit = await reading_rate(url)
    layout = f"{rows:,} rows, {rows_per_change} in a change"
    for processes in (None, 1):
        began, used = perf_counter(), processor_seconds()
        verdict = await verify(url, processes=processes)
        seconds, used = perf_counter() - began, processor_seconds() - used
        assert not verdict.findings.count, verdict.findings.listed[:5]
        assert verdict.rows == rows
        named = f"in {processes or os.cpu_count()} process{'' if processes == 1 else 'es'}"
        figure = f"{rows / seconds:,.0f} rows/s, {seconds:.1f} s, {1e6 * used / rows:.1f} us of processor a row"
        report.add(
            f"verify, {layout}, {named}", figure, f"target {VERIFY_TARGET:,}", rows / seconds / VERIFY_TARGET, "higher"
        )
    forms: dict[str, ExportForm] = {"JSON Lines": JsonLines(), "CSV": Csv()}
    for name, form in forms.items():
        path = folder / "export"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began, used = perf_counter(), processor_seconds()
        with path.open("wb", buffering=1 << 20) as file:
            manifest = await export(url, ExportFilter(), form, file.write)
            file.write(line(manifest.document()))
        seconds, used = perf_counter() - began, processor_seconds() - used
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        size = f"{path.stat().st_size / 1e6:,.0f} MB, memory +{grown:.0f} MB"
        figure = f"{rows / seconds:,.0f} rows/s, {size}, {1e6 * used / rows:.1f} us of processor a row"
        report.add(
            f"export, {name}, {layout}", figure, f"target {EXPORT_TARGET:,}", rows / seconds / EXPORT_TARGET, "higher"
        )
        if name == "JSON Lines":
            began = perf_counter()
            with path.open("rb") as file:
                assert not verify_lines(file).findings.count
            rate = rows / (perf_counter() - began)
            report.add(
                f"verify the file, {layout}",
                f"{rate:,.0f} rows/s",
                f"reading {limit:,.0f} rows/s",
                rate / limit,
                "higher",
            )
        path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rows-per-change", type=int, nargs="+", default=[100, 1])
    parser.add_argument("--folder", type=Path, default=None, help="for PostgreSQL's data and the exports")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report = Report()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        server = start_embedded_postgres(Path(folder) / "postgresql", settings={"max_wal_size": "4GB"})
        try:
            for rows_per_change in arguments.rows_per_change:
                asyncio.run(_one(server.url, arguments.rows, rows_per_change, report, Path(folder)))
        finally:
            server.stop()
    report.print(as_json=arguments.json)


async def _one(server_url: str, rows: int, rows_per_change: int, report: Report, folder: Path) -> None:
    name = f"audit_{rows_per_change}"
    connection = await asyncpg.connect(server_url)
    try:
        await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()
    url = server_url.replace("/postgres?", f"/{name}?")
    await migrations.upgrade(url)
    await fill(url, rows, rows_per_change)
    await measure(url, rows, rows_per_change, report, folder)


if __name__ == "__main__":
    main()
