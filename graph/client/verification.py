"""Verification of a table, a slice at a time, while it goes on changing. Pure: no I/O, no clock.

It compares twice. The server's claim about each namespace equals the fingerprint that the table had at that revision,
kept up to date diff by diff: so nothing was lost on the way. And that fingerprint equals the one computed anew from the
records, every checksum included: so nothing has happened to them since. The first needs the revisions to meet, which is
why the table keeps a trail meanwhile; the second needs the records of one revision, which are immutable, so that a list
of them is a snapshot.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from graph.client.records import Claim, Fingerprint
from graph.client.table import LiveTable
from persistence.codec.encoding import digest_term, format_digest, shard_checksum
from persistence.model.records import Shard

_ATTEMPTS: Final = 5


class TableWrong(Exception):
    """The table is not the server's, or cannot be shown to be. Names the namespace."""


@dataclass(slots=True)
class _Audit:
    """One namespace as it was when the verification began, and the digest of the `seen` first of its shards."""

    namespace: str
    shards: list[Shard]
    expected: Fingerprint
    seen: int = 0
    digest: int = 0


class TableVerification:
    """Of one table that is whole."""

    def __init__(self, table: LiveTable) -> None:
        table.begin_trail()
        self._table = table
        self._audits = deque(
            _Audit(name, list(shards.values()), table.fingerprint(name))
            for name, shards in list(table.shards.namespaces.items())
        )
        self._claims: dict[str, Claim] = {}
        self._unverified = set(table.shards.namespaces)
        self._doubted: set[str] = set()
        self._rounds = 0

    @property
    def needs_claims(self) -> bool:
        """True while a claim is missing that the table could be held against."""
        return bool(self._unverified - self._claims.keys())

    @property
    def auditing(self) -> bool:
        """False once all that is left is to receive claims, or to catch up with their revisions."""
        return bool(self._audits)

    def add_claims(self, claims: Iterable[Claim]) -> None:
        """Claims about every namespace of the table, requested after the verification began. Raises TableWrong."""
        self._claims = {claim.namespace: claim for claim in claims}
        if not self._rounds:
            # Of what the table does not have, too: all of it may be missing.
            self._unverified |= self._claims.keys()
        self._rounds += 1
        self._compare()
        if self.needs_claims and self._rounds == _ATTEMPTS:
            names = ", ".join(sorted(self._unverified - self._claims.keys()))
            raise TableWrong(f"the server says nothing of {names} that the table could be held against")

    def step(self, shards: int) -> bool:
        """Verify so many shards more. True once everything is verified. Raises TableWrong."""
        self._compare()
        while self._audits and shards > 0:
            audit = self._audits[0]
            part = audit.shards[audit.seen : audit.seen + shards]
            for shard in part:
                audit.digest ^= digest_term(shard.shard_id, shard.version, shard_checksum(shard.key, shard.content))
            audit.seen += len(part)
            shards -= max(len(part), 1)
            if audit.seen == len(audit.shards):
                _conclude(audit)
                self._audits.popleft()
        if self._audits or self._unverified:
            return False
        self._table.end_trail()
        return True

    def _compare(self) -> None:
        """Hold the table against each claim whose revision it has reached."""
        for claim in [*self._claims.values()]:
            if claim.revision > self._table.position:
                continue
            del self._claims[claim.namespace]
            known = self._table.fingerprint_at(claim.namespace, claim.revision)
            if known == claim.fingerprint:
                self._unverified.discard(claim.namespace)
            elif known is not None:
                self._doubt(claim, known)

    def _doubt(self, claim: Claim, known: Fingerprint) -> None:
        """A server that lags behind the one that was listed claims what once was true: a second claim decides."""
        if claim.namespace in self._doubted:
            raise TableWrong(
                f"namespace {claim.namespace} should have digest {format_digest(claim.fingerprint.digest)} and"
                f" {claim.fingerprint.shards} shards at revision {claim.revision},"
                f" but has {format_digest(known.digest)} and {known.shards}"
            )
        self._doubted.add(claim.namespace)


def _conclude(audit: _Audit) -> None:
    found = Fingerprint(audit.digest, len(audit.shards))
    if found != audit.expected:
        raise TableWrong(
            f"namespace {audit.namespace} was altered here: its records have digest {format_digest(found.digest)},"
            f" it should be {format_digest(audit.expected.digest)}"
        )
