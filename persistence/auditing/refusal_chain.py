"""Following the chain of refusals, as `chain.py` follows that of changes."""

from __future__ import annotations

from dataclasses import dataclass, field

from persistence import audit
from persistence.auditing.entries import RefusalEntry
from persistence.auditing.findings import Findings, Table, span


@dataclass
class RefusalVerifier:
    """Verified up to `refusal_id`, whose hash is `hash`."""

    refusal_id: int = 0
    hash: bytes = audit.GENESIS
    findings: Findings = field(default_factory=Findings)
    refusals: int = 0
    _doubtful: tuple[int, bytes] | None = None

    def add(self, refusal: RefusalEntry, *, omitted: bool = False) -> None:
        """`omitted`: only what its hash covers is there."""
        expected = self.refusal_id + 1
        intact = omitted or refusal.content() == refusal.content_digest
        if refusal.id != expected:
            missing = span(expected, refusal.id - 1)
            self.findings.add(Table.REFUSALS, missing, f"not there, though refusal {refusal.id} is", "id")
            self._doubtful = None
        else:
            self._follow(refusal, intact=intact)
        if not intact and not self._named_already(refusal):
            problem = "what it says is not what its digest covers: this row was edited"
            columns = ("kind", "actor", "reason", "change_ticket", "namespaces", "outcome", "request_digest")
            self.findings.add(Table.REFUSALS, refusal.id, problem, *columns, "request", "details", "left_out")
        self.refusal_id, self.hash = refusal.id, refusal.hash
        self.refusals += 1

    def finish(self, head_hash: bytes | None = None) -> None:
        """`head_hash`, which the head has, tells which is right of the last refusal and its hash."""
        if self._doubtful is not None:
            self._resolve(expected_is_right=self._doubtful[1] == head_hash)

    def _named_already(self, refusal: RefusalEntry) -> bool:
        listed = self.findings.listed
        return bool(listed) and (listed[-1].table, listed[-1].key) == (Table.REFUSALS, str(refusal.id))

    def _follow(self, refusal: RefusalEntry, *, intact: bool) -> None:
        if self._doubtful is not None:
            self._resolve(expected_is_right=refusal.link(self._doubtful[1]) == refusal.hash)
        if refusal.link(self.hash) == refusal.hash:
            return
        mended = refusal if intact else refusal._replace(content_digest=refusal.content())
        if mended.link(self.hash) == refusal.hash:
            self.findings.add(Table.REFUSALS, refusal.id, "content_digest edited", "content_digest")
            return
        self._doubtful = (refusal.id, mended.link(self.hash))

    def _resolve(self, *, expected_is_right: bool) -> None:
        if self._doubtful is None:
            return
        (refusal_id, expected), self._doubtful = self._doubtful, None
        if expected_is_right:
            self.findings.add(Table.REFUSALS, refusal_id, "hash edited: the next refusal follows without", "hash")
            self.hash = expected
            return
        problem = (
            f"refusal {refusal_id} does not follow from the one before: its refused_at, its content with the digest, "
            "or its hash was edited, or the one before was written anew"
        )
        key = span(max(1, refusal_id - 1), refusal_id)
        self.findings.add(Table.REFUSALS, key, problem, "refused_at", "content_digest", "hash")
