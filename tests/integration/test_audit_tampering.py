# ruff: noqa: S608 - the edits are put together from constants
"""A superuser edits what is append-only, with every trigger off: each edit is found, and said where it was made."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import pytest

from persistence.audit.checkpoints import Checkpoint
from persistence.audit.entries import Finding
from persistence.errors import StoreUnavailable
from persistence.postgres.audit import segments
from persistence.postgres.audit.reader import open_reader
from persistence.postgres.audit.verify import ParallelVerifier, verify, verify_on
from persistence.postgres.compaction import PostgresRetention
from persistence.postgres.store import open_store
from tests.support.audit_pages import small_pages
from tests.support.audited_mesh import covers, shown, verified
from tests.support.mesh import because
from tests.support.planned_mesh import PlannedMesh

EDITS: Final = 200


@dataclass(frozen=True)
class Edit:
    """SQL, and where it must be found: one of these tables, and a row of it."""

    sql: str
    tables: tuple[str, ...]
    key: object

    def is_found_by(self, finding: Finding) -> bool:
        return finding.table in self.tables and covers(finding.key, str(self.key))


@asynccontextmanager
async def superuser(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Whom no trigger and no constraint on references holds up. What is done inside is undone in the end."""
    connection = await asyncpg.connect(url)
    try:
        for table, name in await connection.fetch(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'c'"
            " AND connamespace = 'public'::regnamespace AND conparentid = 0 AND coninhcount = 0"
        ):
            await connection.execute(f'ALTER TABLE {table} DROP CONSTRAINT IF EXISTS "{name}"')
        await connection.execute("SET session_replication_role = replica")
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def undone(connection: asyncpg.Connection) -> AsyncIterator[None]:
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


async def test_an_untouched_log_is_in_order(audited_url: str) -> None:
    verdict = await verify(audited_url)
    assert shown(verdict) == []
    async with superuser(audited_url) as connection:
        counts = [await connection.fetchval(f"SELECT count(*) FROM {table}") for table in ("changes", "shard_history")]
        refusals = await connection.fetchval("SELECT count(*) FROM refusals")
    assert [verdict.changes, verdict.rows, verdict.refusals] == [*counts, refusals]


async def test_groups_that_shards_join_and_leave_are_in_order(audited_url: str) -> None:
    async with open_store(audited_url) as store:
        mesh = PlannedMesh(store)
        shard = await mesh.created("grouped", anti_affinity_group="pair")
        for group in ("pair", "other", None, None):
            shard = await mesh.updated(shard, anti_affinity_group=group, owner_node_id=f"node-{shard.version}")
    assert shown(await verify(audited_url)) == []
    async with superuser(audited_url) as connection:
        await connection.execute(
            "UPDATE shard_history SET changed_fields = '{ownerNodeId}' WHERE shard_id = 'grouped' AND version = 3"
        )
        (finding,) = (await verified(connection)).findings.listed
    assert finding.columns == ("changed_fields",)


@pytest.mark.parametrize(
    "edited", ['{"ownerNodeId,capacityHint"}', "{ownerNodeId,capacityHint,NULL}", "{{ownerNodeId,capacityHint}}"]
)
async def test_changed_fields_that_only_look_alike_are_found(audited_url: str, edited: str) -> None:
    async with superuser(audited_url) as connection:
        revision = await connection.fetchval(
            "UPDATE shard_history SET changed_fields = $1::text::text[] WHERE revision ="
            " (SELECT min(revision) FROM shard_history WHERE changed_fields = '{ownerNodeId,capacityHint}')"
            " RETURNING revision",
            edited,
        )
        (finding,) = (await verified(connection)).findings.listed
    assert (finding.key, finding.columns) == (str(revision), ("changed_fields",))


async def test_every_edit_is_found_where_it_was_made(audited_url: str) -> None:
    rng = random.Random(20261123)
    async with superuser(audited_url) as connection:
        facts = await Facts.of(connection)
        for number in range(EDITS):
            edit = KINDS[number % len(KINDS)](rng, facts)
            async with undone(connection):
                await connection.execute(edit.sql)
                verdict = await verified(connection)
            found = verdict.findings.listed
            assert any(map(edit.is_found_by, found)), (edit, shown(verdict))
            assert verdict.findings.count < 30, (edit, shown(verdict))


@pytest.mark.parametrize("pages", [False, True])
async def test_segments_and_pages_find_what_one_pass_finds(
    audited_url: str, monkeypatch: pytest.MonkeyPatch, *, pages: bool
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_ROWS", 7)
    if pages:
        small_pages(monkeypatch, 3)
    rng = random.Random(7)
    async with superuser(audited_url) as connection:
        facts = await Facts.of(connection)
        for kind in KINDS:
            edit = kind(rng, facts)
            async with undone(connection):
                await connection.execute(edit.sql)
                verdict = await verified(connection)
            assert any(map(edit.is_found_by, verdict.findings.listed)), (edit, shown(verdict))


async def test_processes_share_the_work(audited_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_ROWS", 7)
    done: list[tuple[int, int]] = []
    alone = await verify(audited_url, processes=1)
    together = await verify(audited_url, processes=2, progress=lambda rows, total: done.append((rows, total)))
    assert together == alone
    assert (len(done) > 2, done[-1]) == (True, (alone.rows, alone.rows))


async def test_a_process_that_cannot_read_is_told_as_if_there_were_none(
    audited_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "SEGMENT_ROWS", 7)
    async with open_reader(audited_url) as reader:
        apart = ParallelVerifier("postgresql://localhost:1/nowhere", reader, 2)
        with pytest.raises(StoreUnavailable):
            await verify_on(reader, parallel=apart)


@dataclass(frozen=True)
class Facts:
    """What there is to edit. `made` maps a revision to the change that made it."""

    changes: int
    made: dict[int, int]
    refusals: int
    shards: list[str]
    shared: list[int]

    @classmethod
    async def of(cls, connection: asyncpg.Connection) -> Facts:
        made = dict(await connection.fetch("SELECT revision, change_id FROM shard_history"))
        shards = [row[0] for row in await connection.fetch("SELECT shard_id FROM shards WHERE namespace = 'billing'")]
        shared = [row[0] for row in await connection.fetch("SELECT id FROM changes WHERE shard_count > 1")]
        changes = await connection.fetchval("SELECT count(*) FROM changes")
        return cls(changes, made, await connection.fetchval("SELECT count(*) FROM refusals"), shards, shared)


Kind = Callable[[random.Random, Facts], Edit]


def edited_change(column: str, value: str) -> Kind:
    def edit(rng: random.Random, facts: Facts) -> Edit:
        number = rng.randrange(1, facts.changes + 1)
        return Edit(f"UPDATE changes SET {column} = {value} WHERE id = {number}", ("changes",), number)

    return edit


def edited_row(column: str, value: str) -> Kind:
    def edit(rng: random.Random, facts: Facts) -> Edit:
        revision = rng.choice(sorted(facts.made))
        sql = f"UPDATE shard_history SET {column} = {value} WHERE revision = {revision}"
        return Edit(sql, ("shard_history",), revision)

    return edit


def edited_content(column: str, value: str) -> Kind:
    """What the digest of the change covers: told by the change, or by the row where its own checksum tells."""

    def edit(rng: random.Random, facts: Facts) -> Edit:
        revision = rng.choice(sorted(facts.made))
        sql = f"UPDATE shard_history SET {column} = {value} WHERE revision = {revision}"
        return Edit(sql, ("changes",), facts.made[revision])

    return edit


def edited_image(old: str, new: str) -> Kind:
    def edit(rng: random.Random, facts: Facts) -> Edit:
        revision = rng.choice(sorted(facts.made))
        replaced = ", ".join(
            f"{column} = replace({column}::text, '{old}', '{new}')::json" for column in ("previous", "current")
        )
        return Edit(f"UPDATE shard_history SET {replaced} WHERE revision = {revision}", ("shard_history",), revision)

    return edit


def edited_refusal(column: str, value: str) -> Kind:
    def edit(rng: random.Random, facts: Facts) -> Edit:
        number = rng.randrange(1, facts.refusals + 1)
        return Edit(f"UPDATE refusals SET {column} = {value} WHERE id = {number}", ("refusals",), number)

    return edit


def edited_head(table: str, column: str, value: str) -> Kind:
    return lambda _rng, _facts: Edit(f"UPDATE {table} SET {column} = {value}", (table,), column)


def edited_shard(column: str, value: str) -> Kind:
    def edit(rng: random.Random, facts: Facts) -> Edit:
        shard = rng.choice(facts.shards)
        sql = f"UPDATE shards SET {column} = {value} WHERE namespace = 'billing' AND shard_id = '{shard}'"
        return Edit(sql, ("shards",), f"billing/{shard}")

    return edit


def forgotten_change(rng: random.Random, facts: Facts) -> Edit:
    number = rng.randrange(1, facts.changes)
    return Edit(f"DELETE FROM changes WHERE id = {number}", ("changes",), number)


def forgotten_change_with_rows(rng: random.Random, facts: Facts) -> Edit:
    number = rng.randrange(1, facts.changes)
    sql = f"DELETE FROM changes WHERE id = {number}; DELETE FROM shard_history WHERE change_id = {number}"
    return Edit(sql, ("changes",), number)


def forgotten_last_change(_: random.Random, facts: Facts) -> Edit:
    return Edit(f"DELETE FROM changes WHERE id = {facts.changes}", ("stream_head",), "change_id")


def forgotten_row(rng: random.Random, facts: Facts) -> Edit:
    revision = rng.choice(sorted(facts.made))
    return Edit(f"DELETE FROM shard_history WHERE revision = {revision}", ("shard_history",), revision)


def forgotten_refusal(rng: random.Random, facts: Facts) -> Edit:
    number = rng.randrange(1, facts.refusals)
    return Edit(f"DELETE FROM refusals WHERE id = {number}", ("refusals",), number)


def forgotten_last_refusal(_: random.Random, facts: Facts) -> Edit:
    return Edit(f"DELETE FROM refusals WHERE id = {facts.refusals}", ("refusal_head",), "refusal_id")


def forgotten_shard(rng: random.Random, facts: Facts) -> Edit:
    shard = rng.choice(facts.shards)
    sql = f"DELETE FROM shards WHERE namespace = 'billing' AND shard_id = '{shard}'"
    return Edit(sql, ("shards",), f"billing/{shard}")


def copied(table: str, key: str, source: int, target: int) -> str:
    return (
        f"CREATE TEMP TABLE copied ON COMMIT DROP AS SELECT * FROM {table} WHERE {key} = {source};"
        f"UPDATE copied SET {key} = {target}; INSERT INTO {table} SELECT * FROM copied; DROP TABLE copied"
    )


def inserted_change(rng: random.Random, facts: Facts) -> Edit:
    source, target = rng.randrange(1, facts.changes + 1), facts.changes + 1
    without_key = f"UPDATE changes SET idempotency_digest = NULL WHERE id = {source};"
    return Edit(without_key + copied("changes", "id", source, target), ("changes",), target)


def inserted_row(rng: random.Random, facts: Facts) -> Edit:
    target = max(facts.made) + 1
    loose = "DROP INDEX IF EXISTS uq_shard_history_0_version;"
    return Edit(
        loose + copied("shard_history", "revision", rng.choice(sorted(facts.made)), target), ("shard_history",), target
    )


def inserted_refusal(rng: random.Random, facts: Facts) -> Edit:
    target = facts.refusals + 1
    return Edit(copied("refusals", "id", rng.randrange(1, target), target), ("refusals",), target)


def swapped(table: str, key: str, first: int, second: int) -> str:
    return (
        f"UPDATE {table} SET {key} = -1 WHERE {key} = {first};"
        f"UPDATE {table} SET {key} = {first} WHERE {key} = {second};"
        f"UPDATE {table} SET {key} = {second} WHERE {key} = -1"
    )


def swapped_changes(rng: random.Random, facts: Facts) -> Edit:
    first, second = sorted(rng.sample(range(1, facts.changes + 1), 2))
    return Edit(swapped("changes", "id", first, second), ("changes",), first)


def swapped_rows(rng: random.Random, facts: Facts) -> Edit:
    change = rng.choice(facts.shared)
    first, second, *_ = [revision for revision, made_by in sorted(facts.made.items()) if made_by == change]
    return Edit(swapped("shard_history", "revision", first, second), ("changes",), change)


def swapped_refusals(rng: random.Random, facts: Facts) -> Edit:
    first, second = sorted(rng.sample(range(1, facts.refusals + 1), 2))
    return Edit(swapped("refusals", "id", first, second), ("refusals",), first)


NOW: Final = "clock_timestamp()"
BYTES: Final = "sha256('x')"
KINDS: Final[list[Kind]] = [
    *(
        edited_change(column, value)
        for column, value in (
            ("actor", "actor || 'x'"),
            ("reason", "'other'"),
            ("change_ticket", "coalesce(change_ticket, '') || 'x'"),
            ("metadata", "'[0.5]'"),
            ("configuration", '\'{"namespace":"billing","current":{}}\''),
            ("kind", "kind || 'S'"),
            ("namespaces", "array_append(namespaces, 'x')"),
            ("head_revision", "head_revision + 1"),
            ("shard_count", "shard_count + 1"),
            ("committed_at", "committed_at - interval '1 us'"),
            ("content_digest", BYTES),
            ("hash", BYTES),
        )
    ),
    *(
        edited_row(column, value)
        for column, value in (
            ("change_id", "change_id + 1"),
            ("namespace", "'other'"),
            ("shard_id", "shard_id || 'x'"),
            ("version", "version + 1000"),
            ("changed_fields", "array_append(changed_fields, 'status')"),
            ("owner_node_id", "coalesce(owner_node_id, '') || 'x'"),
            ("previous_owner_node_id", "coalesce(previous_owner_node_id, '') || 'x'"),
        )
    ),
    *(
        edited_content(column, value)
        for column, value in (
            ("kind", "kind || 'S'"),
            ("previous_revision", "coalesce(previous_revision, 0) + 1"),
            ("move_reason", "coalesce(move_reason, '') || 'X'"),
        )
    ),
    edited_image('"ownerNodeId":"node-', '"ownerNodeId":"evil-'),
    edited_image('"capacityHint":', '"capacityHint":1'),
    *(
        edited_refusal(column, value)
        for column, value in (
            ("actor", "'nobody'"),
            ("reason", "reason || 'x'"),
            ("change_ticket", "'CHG-0'"),
            ("namespaces", "'{}'"),
            ("outcome", "'PolicyViolation'"),
            ("request", "'{}'"),
            ("details", "'{}'"),
            ("left_out", "left_out + 1"),
            ("refused_at", "refused_at + interval '1 us'"),
            ("content_digest", BYTES),
            ("hash", BYTES),
        )
    ),
    *(
        edited_head("stream_head", column, value)
        for column, value in (
            ("change_id", "change_id - 1"),
            ("revision", "revision + 1"),
            ("hash", BYTES),
            ("committed_at", NOW),
            ("floor", "1"),
        )
    ),
    *(
        edited_head("refusal_head", column, value)
        for column, value in (
            ("refusal_id", "refusal_id + 1"),
            ("hash", BYTES),
            ("refused_at", NOW),
        )
    ),
    *(
        edited_shard(column, value)
        for column, value in (
            ("owner_node_id", "'node-evil'"),
            ("version", "version + 1"),
            ("revision", "revision - 1"),
            ("pinned_by", "'mallory'"),
        )
    ),
    forgotten_change,
    forgotten_change_with_rows,
    forgotten_last_change,
    forgotten_row,
    forgotten_refusal,
    forgotten_last_refusal,
    forgotten_shard,
    inserted_change,
    inserted_row,
    inserted_refusal,
    swapped_changes,
    swapped_rows,
    swapped_refusals,
]


KEPT: Final = "namespace, shard_id, version, owner_epoch"


@pytest.mark.parametrize(
    ("sql", "table", "key"),
    [
        ("UPDATE shard_tombstones SET version = version + 1", "shard_tombstones", "billing/s6"),
        ("DELETE FROM shard_tombstones", "shards", "billing/s6"),
        *(
            (
                f"INSERT INTO shard_tombstones SELECT {KEPT} FROM shards WHERE shard_id = '{shard}'",
                "shard_tombstones",
                f"billing/{shard}",
            )
            for shard in ("s0", "s1", "s2", "s3")
        ),
        ("UPDATE namespace_heads SET digest_low = 1 WHERE name = 'search'", "namespace_heads", "search"),
        ("UPDATE namespaces SET strategy = 'jump' WHERE name = 'billing'", "namespaces", "billing"),
        ("UPDATE nodes SET weight = 99 WHERE node_id = 'node-b'", "nodes", "node-b"),
        ("DELETE FROM nodes WHERE node_id = 'node-b'", "nodes", "node-b"),
        ("DELETE FROM refusal_head", "stream_head", "1"),
    ],
)
async def test_what_servers_answer_from_must_follow_from_history(
    audited_url: str, sql: str, table: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with superuser(audited_url) as connection:
        await connection.execute(sql)
    assert [(finding.table, finding.key) for finding in (await verify(audited_url)).findings.listed] == [(table, key)]
    small_pages(monkeypatch, 3)
    assert [(finding.table, finding.key) for finding in (await verify(audited_url)).findings.listed] == [(table, key)]


@pytest.mark.parametrize("table", ["changes", "refusals"])
async def test_what_was_put_in_before_the_first_is_found(audited_url: str, table: str) -> None:
    async with superuser(audited_url) as connection:
        await connection.execute(copied(table, "id", 1, -5))
    assert [(finding.table, finding.key) for finding in (await verify(audited_url)).findings.listed] == [(table, "-5")]


TRUNCATED: Final = """
    DELETE FROM shard_history WHERE change_id > 12; DELETE FROM changes WHERE id > 12;
    UPDATE stream_head SET (change_id, revision, hash, committed_at) =
        (SELECT id, head_revision, hash, committed_at FROM changes WHERE id = 12);
"""


async def test_a_chain_that_was_cut_off_with_its_head_is_found_by_an_anchor(audited_url: str) -> None:
    anchor = (await verify(audited_url)).end
    async with superuser(audited_url) as connection:
        await connection.execute(TRUNCATED)
        verdict = await verified(connection, Checkpoint.read(str(anchor)))
    (finding,) = [finding for finding in verdict.findings.listed if finding.table == "anchor"]
    assert "cut off before it" in finding.problem


async def test_what_is_new_is_verified_from_a_checkpoint(audited_url: str) -> None:
    checkpoint = (await verify(audited_url)).end
    async with open_store(audited_url) as store:
        mesh = PlannedMesh(store)
        shard = await mesh.shard("s1")
        assert shard is not None
        await mesh.updated(shard, owner_node_id="node-new")
    verdict = await verify(audited_url, Checkpoint.read_document(json.dumps(checkpoint.document())))
    assert (shown(verdict), verdict.changes, verdict.rows, verdict.refusals) == ([], 1, 1, 0)
    async with superuser(audited_url) as connection:
        await connection.execute("UPDATE changes SET hash = sha256('x') WHERE id = $1", checkpoint.change.change_id)
        await connection.execute("UPDATE shards SET leader_id = 'x' WHERE shard_id = 's2'")
    (finding,) = (await verify(audited_url, checkpoint)).findings.listed
    assert (finding.table, finding.key) == ("anchor", f"change {checkpoint.change.change_id}")


async def test_a_compacted_history_is_verified_by_what_was_kept(audited_url: str) -> None:
    assert await PostgresRetention(audited_url).compact(16, because("storage")) is not None
    assert shown(await verify(audited_url)) == []
    async with superuser(audited_url) as connection:
        kept: list[Any] = await connection.fetch("SELECT revision FROM shard_history WHERE revision <= 16")
        revision = kept[-1][0]
        await connection.execute("UPDATE shard_history SET previous_revision = 9 WHERE revision = $1", revision)
        (finding, *_) = (await verified(connection)).findings.listed
        assert finding.table in ("shard_history", "changes")
        await connection.execute("DELETE FROM shard_history WHERE revision = $1", revision)
        found = (await verified(connection)).findings.listed
    assert any((finding.table, finding.key) == ("shard_history", "1..16") for finding in found)
