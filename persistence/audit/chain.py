"""Verifying the chains of changes and of refusals: fed with entries in order, each finds where they do not follow.

Passive state machines. Of changes `begin` returns how far a change's rows reach, and the caller gives these to `end`.
After an entry that does not follow, the stored hash is gone on from, so that one edit is one finding, and a second one
is found as well. Whether an entry was edited or the hash before it is decided by the entry after it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from persistence.audit.continuity import Continuity
from persistence.audit.entries import ChangeEntry, Findings, RefusalEntry, RowEntry, Table, span
from persistence.audit.row_images import images_with_wrong_checksums, parsed_images, wrong_columns
from persistence.codec import hash_chain
from persistence.model.records import DiffKind

_SUSPECTS: Final = 20
"""At most so many rows of one broken change are named."""

_CREATED: Final = DiffKind.CREATED.value


class ChainPosition(NamedTuple):
    """A change up to which the chain was verified: everything up to it is as it was written."""

    change_id: int
    revision: int
    hash: bytes


BEGINNING: Final = ChainPosition(0, 0, hash_chain.GENESIS)


@dataclass(frozen=True, slots=True)
class _Unresolved:
    """A change whose hash does not follow, and the hash that would; the next change shows which is right."""

    change_id: int
    expected: bytes


@dataclass
class ChainVerifier:
    """Of the chain of changes. `floor` is the newest revision up to which rows were compacted away, 0 for none.

    `namespaces` are the head revision of each one's last change of shards; `retained_rows` those up to the floor, as
    the digest of a compaction covers them.
    """

    position: ChainPosition = BEGINNING
    floor: int = 0
    findings: Findings = field(default_factory=Findings)
    continuity: Continuity = field(default_factory=Continuity)
    namespaces: dict[str, int] = field(default_factory=dict)
    changes: int = 0
    rows: int = 0
    retained_rows: list[bytes] = field(default_factory=list)
    _linked: bool = True
    _head: int = 0
    _unresolved: _Unresolved | None = None

    def begin(self, change: ChangeEntry, following: ChangeEntry | None = None) -> int:
        """Begin the next change, with a look at the one after it.

        Returns the revision up to which rows are its own: `end` takes those.
        """
        expected = self.position.change_id + 1
        if change.id < expected:
            self.findings.add(Table.CHANGES, change.id, f"stands after change {expected - 1}: it is there twice", "id")
        elif change.id > expected:
            missing = span(expected, change.id - 1)
            self.findings.add(Table.CHANGES, missing, f"not there, though change {change.id} is", "id")
        if change.id != expected:
            self._linked = False
            self._unresolved = None
            first = change.head_revision - change.shard_count + 1
            self.continuity.add_gap(self.position.revision + 1, first - 1)
            self.position = self.position._replace(revision=first - 1)
        self.changes += 1
        self._head = self._head_of(change, following)
        return self._head

    def omit(self, change: ChangeEntry) -> None:
        """Instead of `end`, for a change of which only what its hash covers is there."""
        self._follow(change, self._head, self._head - self.position.revision, None, ())
        if self._head > self.position.revision:
            self.continuity.omit(self._head)
        self.position = ChainPosition(change.id, self._head, change.hash)
        self._linked = True

    def end(self, change: ChangeEntry, rows: Sequence[RowEntry]) -> None:
        """Verify the change that was begun, with the rows up to the revision that `begin` returned."""
        low, high = self.position.revision, self._head
        own = self._own_rows(change, rows, low, high)
        digests = [row.digest() for row in own]
        self._retain(own, digests)
        complete = len(own) == high - low
        content = change.content(digests) if complete else None
        self._follow(change, high, high - low, content, own)
        for row in own:
            self._check_row(change, row)
        self._check_namespaces(change, own, complete=complete)
        self.rows += len(own)
        self.position = ChainPosition(change.id, high, change.hash)
        self._linked = True

    def finish(
        self, rows: Sequence[RowEntry] = (), following: ChangeEntry | None = None, head_hash: bytes | None = None
    ) -> None:
        """No change comes after; `rows` are those left.

        Which is right of the last change and its hash is decided by `following`, the next change, where that is in
        another segment; else by `head_hash`, that of the stream head.
        """
        for first, last in _runs([row.revision for row in rows]):
            self.findings.add(Table.HISTORY, span(first, last), "rows beyond the last change", "revision")
        if self._unresolved is not None:
            expected = self._unresolved.expected
            self._resolve(head_hash == expected if following is None else following.link(expected) == following.hash)

    def _head_of(self, change: ChangeEntry, following: ChangeEntry | None) -> int:
        """The newest revision after it: as stored where it agrees with the count; else the one that its hash covers;
        else the one that follows from the next change."""
        counted = self.position.revision + change.shard_count
        if counted == change.head_revision or not self._linked:
            return change.head_revision
        if change._replace(head_revision=counted).link(self.position.hash) == change.hash:
            return counted
        if change.link(self.position.hash) != change.hash and following is not None and following.id == change.id + 1:
            return max(following.head_revision - following.shard_count, self.position.revision)
        return max(change.head_revision, self.position.revision)

    def _own_rows(self, change: ChangeEntry, rows: Sequence[RowEntry], low: int, high: int) -> Sequence[RowEntry]:
        if len(rows) == high - low and (not rows or (rows[0].revision > low and rows[-1].revision <= high)):
            return rows
        foreign = [row.revision for row in rows if not low < row.revision <= high]
        for first, last in _runs(foreign):
            self.findings.add(Table.HISTORY, span(first, last), "rows that belong to no change", "revision")
        own = [row for row in rows if low < row.revision <= high] if foreign else rows
        if len(own) < high - low:
            for first, last in _gaps([row.revision for row in own], max(low, self.floor) + 1, high):
                problem = f"not there, though change {change.id} made them"
                self.findings.add(Table.HISTORY, span(first, last), problem, "revision")
                self.continuity.add_gap(first, last)
        return own

    def _retain(self, rows: Sequence[RowEntry], digests: Sequence[bytes]) -> None:
        if self.floor and rows and rows[0].revision <= self.floor:
            pairs = zip(rows, digests, strict=True)
            self.retained_rows += [
                hash_chain.compacted_row(row.revision, row.change_id, digest)
                for row, digest in pairs
                if row.revision <= self.floor
            ]

    def _check_row(self, change: ChangeEntry, row: RowEntry) -> None:
        self.namespaces[row.namespace] = self._head
        before, after = parsed_images(row)
        wrong = wrong_columns(row, before, after)
        if row.change_id != change.id:
            wrong = ("change_id", *wrong)
        if row.kind == _CREATED and row.created_at != change.committed_at:
            wrong = (*wrong, "created_at")
        if wrong:
            problem = f"{', '.join(wrong)} {_verb(wrong)} not say what the rest of the row and change {change.id} say"
            self.findings.add(Table.HISTORY, row.revision, problem, *wrong)
        if (broken := self.continuity.add(row, before, after, change.committed_at)) is not None:
            self.findings.add(Table.HISTORY, broken.revision, str(broken), *broken.columns)

    def _check_namespaces(self, change: ChangeEntry, rows: Sequence[RowEntry], *, complete: bool) -> None:
        if not namespaces_match(
            change.namespaces, change.configuration, {row.namespace for row in rows}, complete=complete
        ):
            problem = "namespaces does not name those it touched"
            self.findings.add(Table.CHANGES, change.id, problem, "namespaces")

    def _follow(
        self, change: ChangeEntry, head: int, count: int, content: bytes | None, rows: Sequence[RowEntry]
    ) -> None:
        """Whether the hash follows from the one before; if not, which columns, corrected, make it follow."""
        if not self._linked:
            self._check_content(change, content, rows)
            return
        if self._unresolved is not None:
            self._resolve(change.link(self._unresolved.expected) == change.hash)
        if change.link(self.position.hash) == change.hash:
            if change.head_revision != head or change.shard_count != count:
                self.findings.add(Table.CHANGES, change.id, "its head_revision does not follow", "head_revision")
            self._check_content(change, content, rows)
            return
        for columns, corrected in _corrections(change, head, count, content):
            if corrected.link(self.position.hash) == change.hash:
                self.findings.add(Table.CHANGES, change.id, f"{', '.join(columns)} edited", *columns)
                self._check_content(corrected, content, rows)
                return
        expected = change if content is None else change._replace(content_digest=content)
        self._check_content(change, content, rows)
        self._unresolved = _Unresolved(change.id, expected.link(self.position.hash))

    def _resolve(self, expected_is_right: bool) -> None:  # noqa: FBT001 - a fact, no option
        """`expected_is_right`: the next change follows from the hash that the unresolved one should have."""
        unresolved, self._unresolved = self._unresolved, None
        if unresolved is None:
            return
        if expected_is_right:
            self.findings.add(
                Table.CHANGES, unresolved.change_id, "hash edited: the next change follows without", "hash"
            )
            if self.position.change_id == unresolved.change_id:
                self.position = self.position._replace(hash=unresolved.expected)
            return
        before = max(1, unresolved.change_id - 1)
        problem = (
            f"change {unresolved.change_id} does not follow from the one before: its committed_at, its content with "
            "the digest, or its hash was edited, or the one before was written anew"
        )
        self.findings.add(
            Table.CHANGES, span(before, unresolved.change_id), problem, "committed_at", "content_digest", "hash"
        )

    def _check_content(self, change: ChangeEntry, content: bytes | None, rows: Sequence[RowEntry]) -> None:
        """The change with its rows against the digest of them, which its hash covers."""
        if content is None or content == change.content_digest:
            return
        suspects = [(row.revision, images_with_wrong_checksums(row)) for row in rows]
        named = [(revision, wrong) for revision, wrong in suspects if wrong][:_SUSPECTS]
        if not named:
            problem = "what it says or does is not what its digest covers: this row or one of its rows was edited"
            if not rows:
                problem = "what it says is not what its digest covers: this row was edited"
            columns = ("kind", "actor", "reason", "change_ticket", "metadata", "configuration", "content_digest")
            self.findings.add(Table.CHANGES, change.id, problem, *columns)
        for revision, wrong in named:
            problem = f"{', '.join(wrong)} edited: not what change {change.id} wrote"
            self.findings.add(Table.HISTORY, revision, problem, *wrong)


def namespaces_match(
    namespaces: Sequence[str], configuration: str | bytes | None, touched: set[str], *, complete: bool
) -> bool:
    """Whether a change's namespaces follow from what it did: the chain does not cover them. Those of a change of a plan
    are in the plan's document. `complete`: `touched` has every namespace that it touched."""
    details = None if configuration is None else json.loads(configuration)
    match details:
        case None:
            return touched == set(namespaces) if complete else touched <= set(namespaces)
        case {"plan": _}:
            return touched <= set(namespaces)
        case {"namespace": name}:
            return list(namespaces) == [name]
        case _:
            return not namespaces


def _corrections(
    change: ChangeEntry, head: int, count: int, content: bytes | None
) -> Iterator[tuple[tuple[str, ...], ChangeEntry]]:
    """The change with one column as it follows from everything else, and the name of that column."""
    if change.head_revision != head:
        yield ("head_revision",), change._replace(head_revision=head)
    if change.shard_count != count:
        yield ("shard_count",), change._replace(shard_count=count)
    if content is not None and content != change.content_digest:
        yield ("content_digest",), change._replace(content_digest=content)


def _runs(revisions: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as ranges without gaps."""
    first = last = None
    for revision in revisions:
        if last is not None and revision == last + 1:
            last = revision
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = revision
    if first is not None and last is not None:
        yield first, last


def _gaps(revisions: Sequence[int], first: int, last: int) -> Iterator[tuple[int, int]]:
    """The ranges from `first` to `last` that are not there. Not number by number: an edited one may be huge."""
    expected = first
    for revision in revisions:
        if revision > expected:
            yield expected, revision - 1
        expected = max(expected, revision + 1)
    if expected <= last:
        yield expected, last


def _verb(columns: Sequence[str]) -> str:
    return "does" if len(columns) == 1 else "do"


@dataclass
class RefusalVerifier:
    """Of the chain of refusals: verified up to `refusal_id`, whose hash is `hash`."""

    refusal_id: int = 0
    hash: bytes = hash_chain.GENESIS
    findings: Findings = field(default_factory=Findings)
    refusals: int = 0
    _unresolved: tuple[int, bytes] | None = None

    def add(self, refusal: RefusalEntry, *, omitted: bool = False) -> None:
        """`omitted`: only what its hash covers is there."""
        expected = self.refusal_id + 1
        intact = omitted or refusal.content() == refusal.content_digest
        if refusal.id != expected:
            missing = span(expected, refusal.id - 1)
            self.findings.add(Table.REFUSALS, missing, f"not there, though refusal {refusal.id} is", "id")
            self._unresolved = None
        else:
            self._follow(refusal, intact=intact)
        if not intact and not self._has_finding(refusal):
            problem = "what it says is not what its digest covers: this row was edited"
            columns = ("kind", "actor", "reason", "change_ticket", "namespaces", "outcome", "request_digest")
            self.findings.add(Table.REFUSALS, refusal.id, problem, *columns, "request", "details", "left_out")
        self.refusal_id, self.hash = refusal.id, refusal.hash
        self.refusals += 1

    def finish(self, head_hash: bytes | None = None) -> None:
        """`head_hash`, that of the head, decides which is right of the last refusal and its hash."""
        if self._unresolved is not None:
            self._resolve(expected_is_right=self._unresolved[1] == head_hash)

    def _has_finding(self, refusal: RefusalEntry) -> bool:
        listed = self.findings.listed
        return bool(listed) and (listed[-1].table, listed[-1].key) == (Table.REFUSALS, str(refusal.id))

    def _follow(self, refusal: RefusalEntry, *, intact: bool) -> None:
        if self._unresolved is not None:
            self._resolve(expected_is_right=refusal.link(self._unresolved[1]) == refusal.hash)
        if refusal.link(self.hash) == refusal.hash:
            return
        corrected = refusal if intact else refusal._replace(content_digest=refusal.content())
        if corrected.link(self.hash) == refusal.hash:
            self.findings.add(Table.REFUSALS, refusal.id, "content_digest edited", "content_digest")
            return
        self._unresolved = (refusal.id, corrected.link(self.hash))

    def _resolve(self, *, expected_is_right: bool) -> None:
        if self._unresolved is None:
            return
        (refusal_id, expected), self._unresolved = self._unresolved, None
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
