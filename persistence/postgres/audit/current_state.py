"""The tables of the current state against history: each row must follow from the newest change of it.

`shards`, `shard_tombstones`, `namespaces`, `namespace_heads`, `nodes` and `rebalance_plans` are what servers answer
from. Each is read once, in pages: a page is one statement, so it is of one snapshot, and is compared with history as of
that. What is compared with the heads is taken back to these: a shard that was changed since then is there as the newest
row of history up to the head left it. A shard is in `shards` or in `shard_tombstones` at all times, so a page
reads both, or one that goes from one to the other meanwhile would be in neither.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

import sqlalchemy

from persistence.audit.continuity import Key, ShardState
from persistence.audit.entries import Findings, Table
from persistence.codec.encoding import digest_term
from persistence.codec.images import image_of
from persistence.codec.json_documents import read_policy, write_policy
from persistence.commands.write_set import configuration_of
from persistence.model.records import Namespace, Node, Shard
from persistence.planning.proposal import document_id
from persistence.postgres.audit.reader import AuditReader, Heads
from persistence.postgres.rows import NAMESPACE, NODE, SHARD, namespace_of, node_of, shard_of
from persistence.postgres.tables.current import NAMESPACES, NODES


def _columns(columns: Sequence[sqlalchemy.ColumnElement[Any]], table: sqlalchemy.Table, alias: str) -> str:
    """The columns of a record, with 0 for counts that are not in the table."""
    return ", ".join(f"{alias}.{column.name}" if column in table.c.values() else "0" for column in columns)


TABLES_PAGE: Final = 2_000
"""Rows of a statement that probes history for each: some 20 ms."""

PLANS_PAGE: Final = 100
"""Plans have documents of up to megabytes."""

_TOMBSTONE: Final = {"namespace", "shard_id", "version", "owner_epoch"}
"""The columns of a shard that its tombstone has."""

_SHARD: Final = tuple(column.name for column in SHARD)

_OF_SHARD: Final = ", ".join(f"s.{name}" for name in _SHARD)

_OF_TOMBSTONE: Final = ", ".join(f"t.{name}" if name in _TOMBSTONE else "NULL" for name in _SHARD)

# `at_head` is what the shard was at the head, where it was changed since: null for one that was created since.
_SHARDS: Final = f"""
    SELECT s.deleted, newest.revision, newest.kind, newest.version, newest.current, newest.previous, newest.created_at,
        (SELECT c.committed_at FROM changes AS c WHERE c.id = newest.change_id),
        at_head.revision, at_head.current, {_OF_SHARD}
    FROM (
        SELECT {_OF_SHARD}, false AS deleted FROM shards AS s
        UNION ALL SELECT {_OF_TOMBSTONE}, true FROM shard_tombstones AS t
    ) AS s
    LEFT JOIN LATERAL (
        SELECT h.* FROM shard_history AS h
        WHERE h.namespace = s.namespace AND h.shard_id = s.shard_id ORDER BY h.revision DESC LIMIT 1
    ) AS newest ON true
    LEFT JOIN LATERAL (
        SELECT h.revision, h.current FROM shard_history AS h
        WHERE newest.revision > $3 AND h.namespace = s.namespace AND h.shard_id = s.shard_id AND h.revision <= $3
        ORDER BY h.revision DESC LIMIT 1
    ) AS at_head ON true
    WHERE (s.namespace, s.shard_id) > ($1, $2) ORDER BY s.namespace, s.shard_id LIMIT {TABLES_PAGE}
"""  # noqa: S608 - constants

# With names that were configured and are not there, which nothing else is of.
_NAMESPACES: Final = f"""
    SELECT n.name IS NULL, c.name, c.configuration::text, c.committed_at, {_columns(NAMESPACE, NAMESPACES, "n")}
    FROM namespaces AS n FULL JOIN (
        SELECT DISTINCT ON (configuration ->> 'namespace')
            configuration ->> 'namespace' AS name, configuration, committed_at
        FROM changes WHERE kind = 'CONFIGURE_NAMESPACE' ORDER BY configuration ->> 'namespace', id DESC
    ) AS c ON c.name = n.name
"""  # noqa: S608 - constants

_NODES: Final = f"""
    SELECT n.node_id IS NULL, known.name, c.configuration::text, c.committed_at, {_columns(NODE, NODES, "n")}
    FROM nodes AS n FULL JOIN (
        SELECT DISTINCT configuration ->> 'node' AS name FROM changes WHERE (configuration ->> 'node') IS NOT NULL
    ) AS known ON known.name = n.node_id
    LEFT JOIN LATERAL (
        SELECT configuration, committed_at FROM changes
        WHERE (configuration ->> 'node') = n.node_id ORDER BY id DESC LIMIT 1
    ) AS c ON true
"""  # noqa: S608 - constants

_PLANS: Final = f"""
    SELECT p.id, d.document::text, made.kind, made.configuration ->> 'plan', p.change_id,
        p.moves_made, coalesce(waves.moved, 0),
        p.approved_change_id, approving.kind = 'APPROVE_PLAN' AND approving.configuration ->> 'plan' = p.id
    FROM rebalance_plans AS p
    LEFT JOIN rebalance_plan_documents AS d ON d.id = p.id
    LEFT JOIN changes AS made ON made.id = p.change_id
    LEFT JOIN changes AS approving ON approving.id = p.approved_change_id
    LEFT JOIN LATERAL (
        SELECT sum(shard_count) AS moved FROM changes
        WHERE (configuration ->> 'plan') = p.id AND kind = 'APPLY_PLAN'
    ) AS waves ON true
    WHERE p.id > $1 ORDER BY p.id LIMIT {PLANS_PAGE}
"""  # noqa: S608 - constants

_PLANNED: Final = f"""
    SELECT c.configuration ->> 'plan', c.id, c.namespaces,
        (SELECT array_agg(planned ->> 'name') FROM json_array_elements(d.document -> 'namespaces') AS planned)
    FROM changes AS c LEFT JOIN rebalance_plan_documents AS d ON d.id = (c.configuration ->> 'plan')
    WHERE (c.configuration ->> 'plan') IS NOT NULL AND ((c.configuration ->> 'plan'), c.id) > ($1, $2) AND c.id <= $3
    ORDER BY c.configuration ->> 'plan', c.id LIMIT {PLANS_PAGE}
"""  # noqa: S608 - constants

_MASK: Final = 2**64 - 1


@dataclass
class CurrentState:
    """What was found: findings; for each shard, present or deleted, its newest revision in history up to the head; and
    the last revision that the head of each namespace records."""

    findings: Findings = field(default_factory=Findings)
    shards: dict[Key, int | None] = field(default_factory=dict)
    tombstones: dict[Key, int | None] = field(default_factory=dict)
    namespaces: dict[str, int] = field(default_factory=dict)

    def compare(self, shards: Mapping[Key, ShardState], namespaces: Mapping[str, int]) -> Findings:
        """All findings, after a comparison with the shards and namespaces that the verified changes touched."""
        for key, (revision, _) in shards.items():
            table, found = (Table.SHARDS, self.shards) if key in self.shards else (Table.TOMBSTONES, self.tombstones)
            if key not in found:
                self.findings.add(Table.SHARDS, "/".join(key), f"not there, though revision {revision} left it")
            elif found[key] != revision:
                problem = f"revision {revision} left it, but history has {found[key]} for its newest"
                self.findings.add(table, "/".join(key), problem, "revision")
        for name, revision in namespaces.items():
            if self.namespaces.get(name, revision) != revision:
                problem = "revision: not what its shards come to"
                self.findings.add(Table.NAMESPACE_HEADS, name, problem, "revision")
        return self.findings


@dataclass
class _NamespaceSums:
    """What the shards of each namespace come to, as of the head."""

    digests: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, namespace: str, term: int) -> None:
        self.digests[namespace] = self.digests.get(namespace, 0) ^ term
        self.counts[namespace] = self.counts.get(namespace, 0) + 1

    def add_image(self, namespace: str, image: str) -> None:
        """A shard by its row of history. One that is none is reported where the row is verified."""
        try:
            document = json.loads(image)
            self.add(namespace, digest_term(document["shardId"], document["version"], document["checksum"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            return


async def verify_tables(reader: AuditReader, heads: Heads, current: CurrentState) -> None:
    """Against history; `CurrentState.compare` compares with the chain afterwards."""
    await reader.connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    sums = _NamespaceSums()
    await _verify_shards(reader, heads.end.change.revision, sums, current)
    _verify_namespace_heads(heads, sums, current)
    for configured in _CONFIGURED:
        await _verify_configured(reader, configured, current.findings)
    await _verify_plans(reader, heads.newest.change_id, current.findings)


async def _verify_shards(reader: AuditReader, head: int, sums: _NamespaceSums, current: CurrentState) -> None:
    async for deleted, newest, kind, version, image, previous, created_at, committed_at, *rest in _shard_rows(
        reader, head
    ):
        at_head, image_at_head, *columns = rest
        since = newest is not None and newest > head
        if deleted:
            _verify_tombstone(columns, (kind, version, previous), current.findings)
            current.tombstones[columns[0], columns[1]] = at_head if since else newest
        else:
            shard = shard_of(columns)
            current.shards[shard.key] = at_head if since else newest
            _verify_shard(shard, newest, image, (created_at, committed_at), current.findings)
            if not since:
                sums.add(shard.namespace, digest_term(shard.shard_id, shard.version, shard.checksum))
        if since and image_at_head is not None:
            sums.add_image(columns[0], image_at_head)


async def _shard_rows(reader: AuditReader, head: int) -> AsyncIterator[Any]:
    """All rows of both tables. A shard that is in both, which takes a superuser, comes twice, and on the same page."""
    after, full = ("", ""), True
    while full:
        rows = await reader.connection.fetch(_SHARDS, *after, head)
        full = len(rows) == TABLES_PAGE
        end = len(rows)
        if full:
            last = _key_of(rows[-1])
            while _key_of(rows[end - 1]) == last:
                end -= 1
            after = _key_of(rows[end - 1])
        for record in rows[:end]:
            yield record


def _key_of(record: Any) -> Key:
    return record["namespace"], record["shard_id"]


def _verify_shard(
    shard: Shard, newest: int | None, image: str | None, times: tuple[Any, Any], findings: Findings
) -> None:
    wrong = []
    if image is None or image != image_of(shard):
        wrong += _differing(image, image_of(shard))
    if shard.revision != newest:
        wrong.append("revision")
    created_at, committed_at = times
    if shard.created_at != created_at:
        wrong.append("created_at")
    if shard.updated_at != committed_at:
        wrong.append("updated_at")
    if wrong:
        problem = f"{', '.join(wrong)}: not what revision {newest} left"
        findings.add(Table.SHARDS, "/".join(shard.key), problem, *wrong)


def _differing(image: str | None, stored: str) -> list[str]:
    if image is None:
        return ["shard_id"]
    try:
        recorded, actual = json.loads(image), json.loads(stored)
        return [name for name in actual if recorded.get(name) != actual[name]] or ["current"]
    except (ValueError, AttributeError):
        return ["current"]


def _verify_tombstone(columns: Sequence[Any], newest: tuple[Any, ...], findings: Findings) -> None:
    values = dict(zip(_SHARD, columns, strict=True))
    version, epoch = values["version"], values["owner_epoch"]
    kind, newest_version, image = newest
    if kind != "DELETED" or version != newest_version or epoch != _epoch(image):
        problem = f"version {version}, owner epoch {epoch}: not what the deletion left"
        findings.add(Table.TOMBSTONES, f"{columns[0]}/{columns[1]}", problem, "version", "owner_epoch")


def _epoch(image: str | None) -> int | None:
    try:
        epoch: int | None = None if image is None else json.loads(image)["ownerEpoch"]
    except (ValueError, KeyError, TypeError):
        return None
    return epoch


def _verify_namespace_heads(heads: Heads, sums: _NamespaceSums, current: CurrentState) -> None:
    findings = current.findings
    for name, high, low, count, revision in heads.namespaces:
        current.namespaces[name] = revision
        wrong = []
        if (high & _MASK) << 64 | (low & _MASK) != sums.digests.get(name, 0):
            wrong.append("digest")
        if count != sums.counts.get(name, 0):
            wrong.append("shard_count")
        if wrong:
            findings.add(Table.NAMESPACE_HEADS, name, f"{', '.join(wrong)}: not what its shards come to", *wrong)
    for name in sums.counts.keys() - current.namespaces.keys():
        findings.add(Table.NAMESPACE_HEADS, name, "not there, though the namespace has shards")


@dataclass(frozen=True, slots=True)
class _Configured:
    """A table whose rows are configured by changes: `rows` selects whether there is no row of a name, a name in those
    changes, the newest change of it, and the row. One statement, and as many rows as there are names."""

    table: Table
    rows: str
    record_of: Callable[[Sequence[Any]], Namespace | Node]
    name_of: Callable[[Any], str]
    change: str
    verb: str


_CONFIGURED: Final = (
    _Configured(Table.NAMESPACES, _NAMESPACES, namespace_of, attrgetter("name"), "configuration", "configured"),
    _Configured(Table.NODES, _NODES, node_of, attrgetter("node_id"), "change", "registered"),
)


async def _verify_configured(reader: AuditReader, configured: _Configured, findings: Findings) -> None:
    for absent, name, details, changed_at, *columns in await reader.connection.fetch(configured.rows):
        if absent:
            findings.add(configured.table, name, f"not there, though a change {configured.verb} it")
            continue
        record = configured.record_of(columns)
        wrong = _differing_configuration(details, configuration_of(record), changed_at, record.updated_at)
        if wrong:
            problem = f"{', '.join(wrong)}: not what its last {configured.change} says"
            findings.add(configured.table, configured.name_of(record), problem, *wrong)


def _differing_configuration(
    details: str | None, actual: Mapping[str, Any], changed_at: object, updated_at: object
) -> list[str]:
    """The members of a configuration that differ from the change that made it. That may not have all of them: a version
    of this program before they existed made it."""
    if details is None:
        return ["name"]
    try:
        recorded = json.loads(details)["current"]
        if "policy" in recorded:
            # Rules that came later are at their defaults in one of before.
            recorded = {**recorded, "policy": write_policy(read_policy(recorded["policy"]))}
        wrong = [name for name, value in recorded.items() if actual.get(name) != value]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ["configuration"]
    return wrong if changed_at == updated_at else [*wrong, "updated_at"]


async def _verify_plans(reader: AuditReader, newest_change: int, findings: Findings) -> None:
    async for plan_id, document, kind, named, change_id, made, moved, approved_id, approves in _paged(
        reader, _PLANS, ("",)
    ):
        if document is None or document_id(document) != plan_id:
            findings.add(Table.PLANS, plan_id, "its document is not the one that was kept under this id", "document")
        if kind is None or named != plan_id:
            findings.add(Table.PLANS, plan_id, f"change {change_id} did not make it", "change_id")
        if made != moved:
            findings.add(Table.PLANS, plan_id, f"{moved} of its moves were made, not {made}", "moves_made")
        if approved_id is not None and not approves:
            findings.add(Table.PLANS, plan_id, f"change {approved_id} did not approve it", "approved_change_id")
    async for _, change_id, namespaces, planned in _paged(reader, _PLANNED, ("", 0), newest_change):
        if not set(namespaces) <= set(planned or ()):
            problem = "namespaces names others than those of its plan"
            findings.add(Table.CHANGES, change_id, problem, "namespaces")


async def _paged(reader: AuditReader, query: str, after: tuple[Any, ...], *arguments: Any) -> AsyncIterator[Any]:
    """All rows of a query whose first columns are the key that a page begins after."""
    while page := await reader.connection.fetch(query, *after, *arguments):
        for record in page:
            yield record
        after = tuple(page[-1])[: len(after)]
