"""The audit log as a file: JSON Lines that can be verified without the store, or CSV for spreadsheets.

JSON Lines begin with a header, end with a manifest, and hold every change followed by its rows, then the refusals. What
a filter leaves out stays in as the little that its hash covers, so that the chain can be followed over it. Counters are
JSON integers; times are UTC to the microsecond; images and details are the stored text, because it is hashed.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

import orjson

from persistence.audit.checkpoints import Checkpoint
from persistence.audit.entries import ChangeEntry, RefusalEntry, RowEntry
from persistence.model.fields import neutralized

FORMAT: Final = "omnirelay.audit.export.v1"

CSV_COLUMNS: Final = (
    "entry",
    "id",
    "change_id",
    "at",
    "kind",
    "actor",
    "reason",
    "change_ticket",
    "forced",
    "namespaces",
    "shard_id",
    "version",
    "previous_owner",
    "owner",
    "changed_fields",
    "move_reason",
    "outcome",
    "hash",
)

Write = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class ExportFilter:
    """Changes that touched `namespace`, and refusals that concern it; by `actor`, under `change_ticket`; made in
    [`since`, `until`). A change is in with all its rows."""

    namespace: str | None = None
    actor: str | None = None
    change_ticket: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def selects(self, entry: ChangeEntry | RefusalEntry) -> bool:
        """Regardless of times: these decide where an export begins and ends."""
        return (
            (self.namespace is None or self.namespace in entry.namespaces)
            and (self.actor is None or entry.actor == self.actor)
            and (self.change_ticket is None or entry.change_ticket == self.change_ticket)
        )

    def document(self) -> dict[str, Any]:
        return {
            "namespace": self.namespace,
            "actor": self.actor,
            "changeTicket": self.change_ticket,
            "since": self.since,
            "until": self.until,
        }


class ExportForm(Protocol):
    """Writes entries in one format."""

    def header(self, epoch: str, floor: int, start: Checkpoint, where: ExportFilter) -> bytes: ...
    def change(self, change: ChangeEntry, rows: Sequence[RowEntry]) -> bytes: ...
    def omitted_change(self, change: ChangeEntry) -> bytes: ...
    def refusal(self, refusal: RefusalEntry) -> bytes: ...
    def omitted_refusal(self, refusal: RefusalEntry) -> bytes: ...


class JsonLines:
    """Can be verified, by `mesh audit verify --file` and by docs/verify_audit.py."""

    def header(self, epoch: str, floor: int, start: Checkpoint, where: ExportFilter) -> bytes:
        stream = {"epoch": epoch, "floor": floor, "start": str(start)}
        return line({"type": "header", "format": FORMAT, **stream, "filter": where.document()})

    def change(self, change: ChangeEntry, rows: Sequence[RowEntry]) -> bytes:
        document = {
            "type": "change",
            "id": change.id,
            "kind": change.kind,
            "actor": change.actor,
            "reason": change.reason,
            "changeTicket": change.change_ticket,
            "forced": change.forced,
            "metadata": change.metadata,
            "configuration": change.configuration,
            "namespaces": change.namespaces,
            **_linked(change),
        }
        return b"".join([line(document), *map(_row, rows)])

    def omitted_change(self, change: ChangeEntry) -> bytes:
        return line({"type": "omittedChange", "id": change.id, **_linked(change)})

    def refusal(self, refusal: RefusalEntry) -> bytes:
        document = {
            "type": "refusal",
            "id": refusal.id,
            "kind": refusal.kind,
            "actor": refusal.actor,
            "reason": refusal.reason,
            "changeTicket": refusal.change_ticket,
            "namespaces": refusal.namespaces,
            "outcome": refusal.outcome,
            "requestDigest": refusal.request_digest.hex(),
            "request": refusal.request,
            "details": refusal.details,
            "leftOut": refusal.left_out,
            **_linked_refusal(refusal),
        }
        return line(document)

    def omitted_refusal(self, refusal: RefusalEntry) -> bytes:
        return line({"type": "omittedRefusal", "id": refusal.id, **_linked_refusal(refusal)})


class Csv:
    """A line for each change, row and refusal, for spreadsheets. It shows less than the hashes cover.

    Cells that a spreadsheet would run have an apostrophe before them, unless they are to be `raw`.
    """

    def __init__(self, *, raw: bool = False) -> None:
        self._raw = raw

    def header(self, epoch: str, floor: int, start: Checkpoint, where: ExportFilter) -> bytes:  # noqa: ARG002 - same shape
        return self._csv([CSV_COLUMNS])

    def change(self, change: ChangeEntry, rows: Sequence[RowEntry]) -> bytes:
        at = _written(change.committed_at)
        origin = (change.actor, change.reason, change.change_ticket, change.forced)
        names = " ".join(change.namespaces)
        link = change.hash.hex()
        lines: list[Sequence[object]] = [
            ("change", change.id, change.id, at, change.kind, *origin, names, *("",) * 7, link)
        ]
        for row in rows:
            owners = (row.previous_owner_node_id, row.owner_node_id)
            state = (row.namespace, row.shard_id, row.version, *owners, row.changed_fields, row.move_reason)
            lines.append(("row", row.revision, change.id, at, row.kind, *origin, *state, "", ""))
        return self._csv(lines)

    def omitted_change(self, change: ChangeEntry) -> bytes:  # noqa: ARG002 - a CSV is not verified
        return b""

    def refusal(self, refusal: RefusalEntry) -> bytes:
        at = _written(refusal.refused_at)
        origin = (refusal.actor, refusal.reason, refusal.change_ticket, "")
        names = " ".join(refusal.namespaces)
        link = refusal.hash.hex()
        return self._csv(
            [("refusal", refusal.id, "", at, refusal.kind, *origin, names, *("",) * 6, refusal.outcome, link)]
        )

    def omitted_refusal(self, refusal: RefusalEntry) -> bytes:  # noqa: ARG002 - a CSV is not verified
        return b""

    def _csv(self, lines: Sequence[Sequence[object]]) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines if self._raw else map(_neutralized, lines))
        return text.getvalue().encode()


@dataclass
class Manifest:
    """What was exported, and where the chains end. `add` digests every byte before the manifest."""

    end: Checkpoint
    changes: int = 0
    rows: int = 0
    refusals: int = 0
    omitted_changes: int = 0
    omitted_refusals: int = 0
    content_sha256: str = ""
    _digest: Any = field(default_factory=hashlib.sha256)

    def add(self, data: bytes) -> bytes:
        self._digest.update(data)
        return data

    def document(self, key: bytes | None = None) -> dict[str, Any]:
        """With `key`, signed by HMAC-SHA256 over the line that the document is without the signature."""
        document = {
            "type": "manifest",
            "changes": self.changes,
            "rows": self.rows,
            "refusals": self.refusals,
            "omittedChanges": self.omitted_changes,
            "omittedRefusals": self.omitted_refusals,
            "end": str(self.end),
            "contentSha256": self._digest.hexdigest(),
        }
        return document if key is None else {**document, "hmacSha256": signature(document, key)}


def signature(document: dict[str, Any], key: bytes) -> str:
    """The HMAC-SHA256, in hex, of the line of a manifest without signature."""
    return hmac.new(key, line(document), hashlib.sha256).hexdigest()


def line(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)


def _linked(change: ChangeEntry) -> dict[str, Any]:
    return {
        "headRevision": change.head_revision,
        "shardCount": change.shard_count,
        "committedAt": change.committed_at,
        "contentDigest": change.content_digest.hex(),
        "hash": change.hash.hex(),
    }


def _linked_refusal(refusal: RefusalEntry) -> dict[str, Any]:
    return {
        "refusedAt": refusal.refused_at,
        "contentDigest": refusal.content_digest.hex(),
        "hash": refusal.hash.hex(),
    }


def _row(row: RowEntry) -> bytes:
    return line(
        {
            "type": "row",
            "revision": row.revision,
            "changeId": row.change_id,
            "kind": row.kind,
            "previous": row.previous,
            "previousRevision": row.previous_revision,
            "previousUpdatedAt": row.previous_updated_at,
            "createdAt": row.created_at,
            "current": row.current,
            "moveReason": row.move_reason,
            "namespace": row.namespace,
            "shardId": row.shard_id,
            "version": row.version,
            "changedFields": row.changed_fields.split(",") if row.changed_fields else [],
            "ownerNodeId": row.owner_node_id,
            "previousOwnerNodeId": row.previous_owner_node_id,
        }
    )


def _neutralized(cells: Sequence[object]) -> Sequence[object]:
    return [neutralized(cell) if isinstance(cell, str) else cell for cell in cells]


def _written(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
