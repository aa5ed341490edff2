"""The tables of the current state against history: each row must follow from the newest change of it.

`shards`, `shard_tombstones`, `namespaces`, `namespace_heads`, `nodes` and `rebalance_plans` are what servers answer
from. Each is read once; a row of `shards`, `shard_tombstones` and `nodes` takes one probe of history or changes.
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
from persistence.commands.write_set import configuration_of
from persistence.model.records import Namespace, Node
from persistence.planning.proposal import document_id
from persistence.postgres.audit.reader import AuditReader
from persistence.postgres.rows import NAMESPACE, NODE, SHARD, namespace_of, node_of, shard_of
from persistence.postgres.tables.current import NAMESPACES, NODES, SHARDS

_NEWEST: Final = """
    LEFT JOIN LATERAL (
        SELECT h.revision, h.kind, h.current, h.previous, h.version, h.created_at, c.committed_at
        FROM shard_history AS h LEFT JOIN changes AS c ON c.id = h.change_id
        WHERE h.namespace = {table}.namespace AND h.shard_id = {table}.shard_id ORDER BY h.revision DESC LIMIT 1
    ) AS newest ON true
"""


def _columns(columns: Sequence[sqlalchemy.ColumnElement[Any]], table: sqlalchemy.Table, alias: str) -> str:
    """The columns of a record, with 0 for counts that are not in the table."""
    return ", ".join(f"{alias}.{column.name}" if column in table.c.values() else "0" for column in columns)


_SHARDS: Final = f"""
    SELECT newest.revision, newest.current, newest.created_at, newest.committed_at, {_columns(SHARD, SHARDS, "shards")}
    FROM shards {_NEWEST.format(table="shards")}
"""  # noqa: S608 - constants

_TOMBSTONES: Final = f"""
    SELECT t.namespace, t.shard_id, t.version, t.owner_epoch, newest.revision, newest.kind, newest.version,
        newest.previous
    FROM shard_tombstones AS t {_NEWEST.format(table="t")}
"""  # noqa: S608 - constants

_HEADS: Final = "SELECT name, digest_high, digest_low, shard_count, revision FROM namespace_heads"

_NAMESPACES: Final = f"""
    SELECT c.configuration::text, c.committed_at, {_columns(NAMESPACE, NAMESPACES, "n")}
    FROM namespaces AS n LEFT JOIN (
        SELECT DISTINCT ON (configuration ->> 'namespace')
            configuration ->> 'namespace' AS name, configuration, committed_at
        FROM changes WHERE kind = 'CONFIGURE_NAMESPACE' ORDER BY configuration ->> 'namespace', id DESC
    ) AS c ON c.name = n.name
"""  # noqa: S608 - constants

_NODES: Final = f"""
    SELECT c.configuration::text, c.committed_at, {_columns(NODE, NODES, "n")}
    FROM nodes AS n LEFT JOIN LATERAL (
        SELECT configuration, committed_at FROM changes
        WHERE (configuration ->> 'node') = n.node_id ORDER BY id DESC LIMIT 1
    ) AS c ON true
"""  # noqa: S608 - constants

_CONFIGURED_NAMES: Final = (
    "SELECT DISTINCT configuration ->> 'namespace' FROM changes WHERE kind = 'CONFIGURE_NAMESPACE'"
)

_REGISTERED_NAMES: Final = """
    SELECT DISTINCT configuration ->> 'node' FROM changes WHERE (configuration ->> 'node') IS NOT NULL
"""

_PLANS: Final = """
    SELECT p.id, d.document::text, made.kind, made.configuration ->> 'plan', p.change_id,
        p.moves_made, coalesce(waves.moved, 0),
        p.approved_change_id, approving.kind = 'APPROVE_PLAN' AND approving.configuration ->> 'plan' = p.id
    FROM rebalance_plans AS p
    LEFT JOIN rebalance_plan_documents AS d ON d.id = p.id
    LEFT JOIN changes AS made ON made.id = p.change_id
    LEFT JOIN changes AS approving ON approving.id = p.approved_change_id
    LEFT JOIN (
        SELECT configuration ->> 'plan' AS id, sum(shard_count) AS moved
        FROM changes WHERE kind = 'APPLY_PLAN' GROUP BY 1
    ) AS waves ON waves.id = p.id
"""

_PLANNED: Final = """
    SELECT c.id, c.namespaces,
        (SELECT array_agg(planned ->> 'name') FROM json_array_elements(d.document -> 'namespaces') AS planned)
    FROM changes AS c LEFT JOIN rebalance_plan_documents AS d ON d.id = (c.configuration ->> 'plan')
    WHERE (c.configuration ->> 'plan') IS NOT NULL
"""

_MASK: Final = 2**64 - 1


@dataclass
class CurrentState:
    """What was found: findings; for each shard, present or deleted, its newest revision in history; and the last
    revision that the head of each namespace records."""

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


async def verify_tables(reader: AuditReader, current: CurrentState) -> None:
    """Against history; `CurrentState.compare` compares with the chain afterwards."""
    await reader.connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    digests, counts = await _verify_shards(reader, current)
    await _verify_tombstones(reader, current)
    await _verify_namespace_heads(reader, digests, counts, current)
    for configured in _CONFIGURED:
        await _verify_configured(reader, configured, current.findings)
    await _verify_plans(reader, current.findings)


async def _verify_shards(reader: AuditReader, current: CurrentState) -> tuple[dict[str, int], dict[str, int]]:
    digests: dict[str, int] = {}
    counts: dict[str, int] = {}
    async for newest_revision, image, created_at, committed_at, *columns in _stream(reader, _SHARDS):
        shard = shard_of(columns)
        current.shards[shard.key] = newest_revision
        term = digest_term(shard.shard_id, shard.version, shard.checksum)
        digests[shard.namespace] = digests.get(shard.namespace, 0) ^ term
        counts[shard.namespace] = counts.get(shard.namespace, 0) + 1
        wrong = []
        if image is None or image != image_of(shard):
            wrong += _differing(image, image_of(shard))
        if shard.revision != newest_revision:
            wrong.append("revision")
        if shard.created_at != created_at:
            wrong.append("created_at")
        if shard.updated_at != committed_at:
            wrong.append("updated_at")
        if wrong:
            key = "/".join(shard.key)
            problem = f"{', '.join(wrong)}: not what revision {newest_revision} left"
            current.findings.add(Table.SHARDS, key, problem, *wrong)
    return digests, counts


def _differing(image: str | None, stored: str) -> list[str]:
    if image is None:
        return ["shard_id"]
    try:
        recorded, actual = json.loads(image), json.loads(stored)
        return [name for name in actual if recorded.get(name) != actual[name]] or ["current"]
    except (ValueError, AttributeError):
        return ["current"]


async def _verify_tombstones(reader: AuditReader, current: CurrentState) -> None:
    async for namespace, shard_id, version, epoch, revision, *newest in _stream(reader, _TOMBSTONES):
        key = (namespace, shard_id)
        kind, newest_version, image = newest
        current.tombstones[key] = revision
        right = kind == "DELETED" and version == newest_version and epoch == _epoch(image)
        if not right:
            problem = f"version {version}, owner epoch {epoch}: not what the deletion left"
            current.findings.add(Table.TOMBSTONES, "/".join(key), problem, "version", "owner_epoch")


def _epoch(image: str | None) -> int | None:
    try:
        epoch: int | None = None if image is None else json.loads(image)["ownerEpoch"]
    except (ValueError, KeyError, TypeError):
        return None
    return epoch


async def _verify_namespace_heads(
    reader: AuditReader, digests: Mapping[str, int], counts: Mapping[str, int], current: CurrentState
) -> None:
    findings = current.findings
    async for name, high, low, count, revision in _stream(reader, _HEADS):
        current.namespaces[name] = revision
        wrong = []
        if (high & _MASK) << 64 | (low & _MASK) != digests.get(name, 0):
            wrong.append("digest")
        if count != counts.get(name, 0):
            wrong.append("shard_count")
        if wrong:
            findings.add(Table.NAMESPACE_HEADS, name, f"{', '.join(wrong)}: not what its shards come to", *wrong)
    for name in counts.keys() - current.namespaces.keys():
        findings.add(Table.NAMESPACE_HEADS, name, "not there, though the namespace has shards")


@dataclass(frozen=True, slots=True)
class _Configured:
    """A table whose rows are configured by changes: `rows` selects each with the newest change of it, `names` the names
    in all those changes."""

    table: Table
    rows: str
    names: str
    record_of: Callable[[Sequence[Any]], Namespace | Node]
    name_of: Callable[[Any], str]
    change: str
    verb: str


_CONFIGURED: Final = (
    _Configured(
        Table.NAMESPACES,
        _NAMESPACES,
        _CONFIGURED_NAMES,
        namespace_of,
        attrgetter("name"),
        "configuration",
        "configured",
    ),
    _Configured(Table.NODES, _NODES, _REGISTERED_NAMES, node_of, attrgetter("node_id"), "change", "registered"),
)


async def _verify_configured(reader: AuditReader, configured: _Configured, findings: Findings) -> None:
    seen = set()
    async for details, changed_at, *columns in _stream(reader, configured.rows):
        record = configured.record_of(columns)
        name = configured.name_of(record)
        seen.add(name)
        wrong = _differing_configuration(details, configuration_of(record), changed_at, record.updated_at)
        if wrong:
            problem = f"{', '.join(wrong)}: not what its last {configured.change} says"
            findings.add(configured.table, name, problem, *wrong)
    async for (name,) in _stream(reader, configured.names):
        if name not in seen:
            findings.add(configured.table, name, f"not there, though a change {configured.verb} it")


def _differing_configuration(
    details: str | None, actual: Mapping[str, Any], changed_at: object, updated_at: object
) -> list[str]:
    """The members of a configuration that differ from the change that made it. That may not have all of them: a version
    of this program before they existed made it."""
    if details is None:
        return ["name"]
    try:
        recorded = json.loads(details)["current"]
        wrong = [name for name, value in recorded.items() if actual.get(name) != value]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ["configuration"]
    return wrong if changed_at == updated_at else [*wrong, "updated_at"]


async def _verify_plans(reader: AuditReader, findings: Findings) -> None:
    async for plan_id, document, kind, named, change_id, made, moved, approved_id, approves in _stream(reader, _PLANS):
        if document is None or document_id(document) != plan_id:
            findings.add(Table.PLANS, plan_id, "its document is not the one that was kept under this id", "document")
        if kind is None or named != plan_id:
            findings.add(Table.PLANS, plan_id, f"change {change_id} did not make it", "change_id")
        if made != moved:
            findings.add(Table.PLANS, plan_id, f"{moved} of its moves were made, not {made}", "moves_made")
        if approved_id is not None and not approves:
            findings.add(Table.PLANS, plan_id, f"change {approved_id} did not approve it", "approved_change_id")
    async for change_id, namespaces, planned in _stream(reader, _PLANNED):
        if not set(namespaces) <= set(planned or ()):
            problem = "namespaces names others than those of its plan"
            findings.add(Table.CHANGES, change_id, problem, "namespaces")


async def _stream(reader: AuditReader, query: str) -> AsyncIterator[Any]:
    async for record in reader.connection.cursor(query, prefetch=2_000):
        yield record
