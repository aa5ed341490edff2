"""Verifying an export in JSON Lines: the file alone, without the store it came from."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import orjson

from persistence.audit.chain import ChainVerifier, RefusalVerifier
from persistence.audit.checkpoints import Checkpoint, Verdict
from persistence.audit.continuity import Continuity
from persistence.audit.entries import ChangeEntry, RefusalEntry, RowEntry, Table, span
from persistence.audit.export import FORMAT, signature
from persistence.codec import hash_chain
from persistence.model.records import MAX_COUNTER, ChangeKind

_COMPACTING: Final = ChangeKind.COMPACT_HISTORY.value


class NotAnExport(Exception):
    """The file is no export in JSON Lines: there is nothing to verify."""


def verify_lines(lines: Iterable[bytes], key: bytes | None = None, checkpoint: Checkpoint | None = None) -> Verdict:
    """Raises NotAnExport. With `key` the manifest must be signed by it; `checkpoint` must be in the chains."""
    verifier: _FileVerifier | None = None
    for number, line in enumerate(lines, 1):
        try:
            document = orjson.loads(line)
            if verifier is None:
                verifier = _FileVerifier(document, checkpoint)
            else:
                verifier.add(document, key)
            verifier.digest.update(line)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            if verifier is None:
                raise NotAnExport(f"its first line is not the header of an export ({FORMAT})") from error
            verifier.verdict.findings.add(Table.FILE, f"line {number}", "is not a line of an export")
    if verifier is None:
        raise NotAnExport("it is empty")
    return verifier.finish()


def verify_csv(
    chunks: Iterable[bytes], manifest: bytes, key: bytes | None = None, checkpoint: Checkpoint | None = None
) -> Verdict:
    """Whether a CSV is the one that its manifest was written for; with `key`, by a holder of it. It holds less than the
    hashes of the chain cover, so of an anchor only the end is compared. Raises NotAnExport for what is no manifest."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    try:
        document = orjson.loads(manifest)
        if document["type"] != "manifest":
            raise NotAnExport("its manifest is none")
        read = _Members(document)
        verdict = Verdict(Checkpoint.read(read.text("end")))
        verdict.changes, verdict.rows = read.counter("changes"), read.counter("rows")
        verdict.refusals = read.counter("refusals")
        _verify_manifest(verdict, document, digest.hexdigest(), key)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise NotAnExport("its manifest is none") from error
    if checkpoint is not None and checkpoint != verdict.end:
        verdict.findings.add(
            Table.CHECKPOINT, "end", "is another than the anchor; JSON Lines can be followed to it", "end"
        )
    return verdict


def _verify_manifest(verdict: Verdict, document: dict[str, Any], digest: str, key: bytes | None) -> None:
    findings = verdict.findings
    if document["contentSha256"] != digest:
        findings.add(Table.FILE, "manifest", "the lines before it are not those that were exported", "contentSha256")
    if key is None:
        return
    unsigned = {name: value for name, value in document.items() if name != "hmacSha256"}
    signed = document.get("hmacSha256")
    if not isinstance(signed, str) or not hmac.compare_digest(signed, signature(unsigned, key)):
        problem = "is not signed" if signed is None else "is not signed with this key"
        findings.add(Table.FILE, "manifest", problem, "hmacSha256")


class _FileVerifier:
    """Fed with the documents of the lines in order."""

    def __init__(self, header: dict[str, Any], checkpoint: Checkpoint | None) -> None:
        if header["type"] != "header" or header["format"] != FORMAT:
            raise ValueError(header["type"])
        read = _Members(header)
        start = Checkpoint.read(read.text("start"))
        self.verdict = Verdict(start)
        self.digest = hashlib.sha256()
        self._checkpoint = checkpoint
        self._floor = read.counter("floor")
        only = header["filter"]
        complete = only["namespace"] if only["actor"] is None and only["changeTicket"] is None else None
        continuity = Continuity(self._floor, start.change.revision, checks_first=True, complete_namespace=complete)
        self._chain = ChainVerifier(start.change, self._floor, self.verdict.findings, continuity)
        self._refusals = RefusalVerifier(start.refusal_id, start.refusal_hash, self.verdict.findings)
        self._whole = not start.change.change_id
        self._compaction: tuple[int, dict[str, Any]] = (0, {"floor": 0})
        self._pending: tuple[ChangeEntry, bool] | None = None
        self._rows: list[RowEntry] = []
        self._manifest: dict[str, Any] | None = None

    def add(self, document: dict[str, Any], key: bytes | None) -> None:
        if self._manifest is not None:
            raise ValueError("after the manifest")
        match document["type"]:
            case "change" | "omittedChange" as kind:
                change = _change(document)
                self._flush(change)
                self._pending = (change, kind == "omittedChange")
            case "row":
                self._rows.append(_row(document))
            case "refusal" | "omittedRefusal" as kind:
                self._flush(None)
                refusal = _refusal(document)
                self._refusals.add(refusal, omitted=kind == "omittedRefusal")
                self._compare_with_checkpoint(Table.REFUSALS, refusal.id, refusal.hash)
            case "manifest":
                self._flush(None)
                self._manifest = document
                _verify_manifest(self.verdict, document, self.digest.hexdigest(), key)
            case other:
                raise ValueError(other)

    def finish(self) -> Verdict:
        self._flush(None)
        self._chain.finish(self._rows)
        self._refusals.finish()
        verdict, position = self.verdict, self._chain.position
        verdict.end = Checkpoint(position, self._refusals.refusal_id, self._refusals.hash)
        verdict.changes, verdict.rows, verdict.refusals = self._chain.changes, self._chain.rows, self._refusals.refusals
        self._verify_floor()
        if self._manifest is None:
            verdict.findings.add(Table.FILE, "manifest", "not there: the file was cut off")
        elif self._manifest.get("end") != str(verdict.end):
            verdict.findings.add(Table.FILE, "manifest", "names another end than the last lines before it", "end")
        return verdict

    def _flush(self, following: ChangeEntry | None) -> None:
        """The change before is complete."""
        if self._pending is None:
            return
        (change, omitted), rows, self._pending, self._rows = self._pending, self._rows, None, []
        self._chain.begin(change, following)
        if omitted:
            self._whole = False
            self._chain.omit(change)
        else:
            self._chain.end(change, rows)
        if change.kind == _COMPACTING and change.configuration is not None:
            self._compaction = (change.id, json.loads(change.configuration))
        self._compare_with_checkpoint(Table.CHANGES, change.id, change.hash)

    def _compare_with_checkpoint(self, table: Table, number: int, link: bytes) -> None:
        if self._checkpoint is None:
            return
        position = self._checkpoint.change
        known = {
            (Table.CHANGES, position.change_id): position.hash,
            (Table.REFUSALS, self._checkpoint.refusal_id): self._checkpoint.refusal_hash,
        }
        if known.get((table, number), link) != link:
            self.verdict.findings.add(Table.CHECKPOINT, f"{table} {number}", "has another hash than the anchor", "hash")

    def _verify_floor(self) -> None:
        """Only a file from which nothing was left out holds all rows that a compaction retained."""
        if not self._whole:
            return
        change_id, compaction = self._compaction
        if self._floor != compaction["floor"]:
            problem = f"says {self._floor}, the last compaction {compaction['floor']}"
            self.verdict.findings.add(Table.FILE, "floor", problem, "floor")
        elif self._floor and hash_chain.compacted_digest(self._chain.retained_rows).hex() != compaction["keptDigest"]:
            problem = f"rows are not those that the compaction kept (change {change_id})"
            self.verdict.findings.add(Table.HISTORY, span(1, self._floor), problem, "previous", "current")


def _change(document: dict[str, Any]) -> ChangeEntry:
    """An omitted one has only what its hash covers."""
    read = _Members(document)
    change = ChangeEntry(
        read.counter("id"),
        read.text("kind", ""),
        read.text("actor", ""),
        read.text("reason", ""),
        read.optional_text("changeTicket"),
        read.optional_text("metadata"),
        read.optional_text("configuration"),
        read.texts("namespaces", []),
        read.counter("headRevision"),
        read.counter("shardCount"),
        read.time("committedAt"),
        read.digest("contentDigest"),
        read.digest("hash"),
        read.optional_text("forced"),
    )
    if change.configuration is not None:
        configuration = json.loads(change.configuration)
        if change.kind == _COMPACTING:
            _Members(configuration).counter("floor")
            _Members(configuration).text("keptDigest")
    return change


def _row(document: dict[str, Any]) -> RowEntry:
    read = _Members(document)
    return RowEntry(
        read.counter("revision"),
        read.counter("changeId"),
        read.text("kind"),
        read.optional_text("previous"),
        None if document["previousRevision"] is None else read.counter("previousRevision"),
        None if document["previousUpdatedAt"] is None else read.time("previousUpdatedAt"),
        read.time("createdAt"),
        read.optional_text("current"),
        read.optional_text("moveReason"),
        read.text("namespace"),
        read.text("shardId"),
        read.counter("version"),
        ",".join(read.texts("changedFields")),
        read.optional_text("ownerNodeId"),
        read.optional_text("previousOwnerNodeId"),
    )


def _refusal(document: dict[str, Any]) -> RefusalEntry:
    read = _Members(document)
    return RefusalEntry(
        read.counter("id"),
        read.text("kind", ""),
        read.text("actor", ""),
        read.text("reason", ""),
        read.optional_text("changeTicket"),
        read.texts("namespaces", []),
        read.text("outcome", ""),
        bytes.fromhex(read.text("requestDigest", "")),
        read.text("request", ""),
        read.text("details", ""),
        read.counter("leftOut", 0),
        read.time("refusedAt"),
        read.digest("contentDigest"),
        read.digest("hash"),
    )


class _Members:
    """Members of an object, each as what the hashes are computed of. Raises KeyError for one that is not there and has
    no default, TypeError or ValueError for one that is of another kind."""

    def __init__(self, document: Any) -> None:
        if not isinstance(document, dict):
            raise TypeError("not an object")
        self._document = document

    def _member(self, name: str, default: Any) -> Any:
        return self._document[name] if default is None else self._document.get(name, default)

    def counter(self, name: str, default: int | None = None) -> int:
        value = self._member(name, default)
        if type(value) is not int or not 0 <= value <= MAX_COUNTER:
            raise ValueError(f"{name} is no counter")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        value = self._member(name, default)
        if not isinstance(value, str):
            raise TypeError(f"{name} is no text")
        return value

    def optional_text(self, name: str) -> str | None:
        return None if self._document.get(name) is None else self.text(name)

    def texts(self, name: str, default: list[str] | None = None) -> list[str]:
        value = self._member(name, default)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise TypeError(f"{name} is no list of texts")
        return value

    def time(self, name: str) -> datetime:
        value = datetime.fromisoformat(self.text(name))
        if value.tzinfo is None:
            raise ValueError(f"{name} has no time zone")
        return value

    def digest(self, name: str) -> bytes:
        return bytes.fromhex(self.text(name))
