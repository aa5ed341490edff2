"""Each shard from row to row: the state that a row follows from must be the one that the row before it ends with.

The audit chain proves that rows are as they were written; this proves that they were written as they may be. Versions
go up by one with each row of a shard, also with its deletion and from there on with the next creation. The owner epoch
goes up by one with a change of owner and with a creation after a deletion, and with nothing else. No unique index can
hold that over all of history, because each covers one partition.
"""

from __future__ import annotations

import struct
from bisect import bisect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeAlias

import mmh3

from persistence.audit.entries import RowEntry
from persistence.codec.encoding import encode, microseconds
from persistence.model.records import DiffKind

Key: TypeAlias = tuple[str, str]

ABSENT: Final = b""
"""The state of a shard that never existed."""

_REPORTED: Final = {
    DiffKind.CREATED.value: "created as",
    DiffKind.UPDATED.value: "updated to",
    DiffKind.DELETED.value: "deleted as",
}

image_digest: Final[Callable[[bytes], bytes]] = mmh3.mmh3_x64_128_digest
"""Of 128 bits, to compare the image that a row ends with and the one that the next begins with; the audit chain covers
both."""

_numbers: Final = struct.Struct(">qqq").pack

ShardState: TypeAlias = tuple[int, bytes]
"""The revision of a row, and the state of its shard before or after it: equal states are equal bytes. A plain tuple,
because processes exchange tens of thousands."""


def state_there(digest: bytes, revision: int, updated_at: int, created_at: int) -> bytes:
    """The state of a shard that is there, by the digest of its image. Times are microseconds since 1970."""
    return digest + _numbers(revision, updated_at, created_at)


def state_deleted(version: int, owner_epoch: int) -> bytes:
    """The state of a shard that was deleted: the counters from which it goes on."""
    return encode(version, owner_epoch) if version or owner_epoch else ABSENT


def continues_from(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether an update counts version and owner epoch on. Raises KeyError or TypeError for what is no image."""
    moved = before["ownerNodeId"] != after["ownerNodeId"]
    version, owner_epoch = after["version"], after["ownerEpoch"]
    return bool(version == before["version"] + 1 and owner_epoch == before["ownerEpoch"] + moved)


@dataclass(frozen=True, slots=True)
class Break:
    """A row that does not follow from the row before it of its shard. `columns` are those that cannot be right."""

    revision: int
    key: Key
    actual: str
    expected: str
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return f"{'/'.join(self.key)} {self.actual}; expected {self.expected}"


class _ShardEnd(NamedTuple):
    """A shard after a row. `image` is null for a deletion, `updated_at` when the row was committed."""

    revision: int
    version: int
    owner_epoch: int
    image: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def state(self) -> bytes:
        if self.image is None:
            return state_deleted(self.version, self.owner_epoch)
        return _state(self.image, self.revision, self.updated_at, self.created_at)

    def __str__(self) -> str:
        verb = "left" if self.image is not None else "deleted"
        return f"revision {self.revision} {verb} version {self.version}, owner epoch {self.owner_epoch}"


class _Counters(NamedTuple):
    version: int
    owner_epoch: int

    def __str__(self) -> str:
        return f"version {self.version}, owner epoch {self.owner_epoch}"


@dataclass
class Continuity:
    """Fed with rows in order of revision.

    `floor`: rows up to there are those that a compaction retained, one of each shard, with nothing known before them.
    `start`: rows up to there are not given. The state that the first row of a shard follows from is put into `claims`,
    to be compared where earlier rows are known; with `checks_first` it is checked as far as is possible without them.
    `complete_namespace`: a namespace of which `omit` leaves out nothing. `gaps`: revisions whose rows are missing.
    """

    floor: int = 0
    start: int = 0
    checks_first: bool = False
    complete_namespace: str | None = None
    claims: dict[Key, ShardState] = field(default_factory=dict)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    _newest: dict[Key, _ShardEnd] = field(default_factory=dict)
    _omitted: list[int] = field(default_factory=list)

    def newest(self) -> dict[Key, ShardState]:
        """The state of each shard after its newest row."""
        return {key: (end.revision, end.state) for key, end in self._newest.items()}

    def omit(self, last: int) -> None:
        """A change up to the revision `last` is left out: it may have touched any shard, each once."""
        self._omitted.append(last)

    def add_gap(self, first: int, last: int) -> None:
        """Rows are missing, which the caller reports: what follows from that is not reported again."""
        if first <= last:
            self.gaps.append((first, last))

    def record(self, row: RowEntry, before: Any, after: Any, committed_at: datetime) -> None:
        """Take a row unchecked. Raises KeyError or TypeError if its images, parsed, are none."""
        key, counters = _identity(before, after)
        self._newest[key] = _ShardEnd(row.revision, *counters, row.current, row.created_at, committed_at)

    def add(self, row: RowEntry, before: Any, after: Any, committed_at: datetime) -> Break | None:
        """Check a row, with its images parsed. A break is found once: the next row has to follow from this one."""
        try:
            key, counters = _identity(before, after)
            last = self._newest.get(key)
            self.record(row, before, after, committed_at)
            if row.revision <= self.floor:
                return None if last is None else _retained_twice(row, key, last)
            if last is None and not self.checks_first:
                self.claims[key] = (row.revision, _claimed(row, counters))
            elif found := self._break_before(row, key, counters, before, last):
                return found
            return (
                None
                if not before or not after or continues_from(before, after)
                else _break_in_counters(row, key, before, after)
            )
        except (KeyError, TypeError, struct.error):
            self.add_gap(row.revision, row.revision)
            key = (row.namespace, row.shard_id)
            return Break(row.revision, key, "has images that are none", "those of a shard", ("previous", "current"))

    def _break_before(
        self, row: RowEntry, key: Key, counters: _Counters, before: Any, last: _ShardEnd | None
    ) -> Break | None:
        """The state that the row follows from, against the newest one of its shard."""
        if _claimed(row, counters) == (ABSENT if last is None else last.state):
            return None
        if self._may_follow_a_gap(row, key[0], counters, last):
            return None
        history = "nothing of it was there before" if last is None else str(last)
        actual = f"{_REPORTED.get(row.kind, row.kind)} {counters}"
        if last is not None and last.image is not None:
            if before is not None:
                return _break_in_images(row, key, actual, before, last)
            return Break(row.revision, key, actual, f"it to be deleted first: {history}", ("kind", "previous"))
        if before is not None:
            return Break(row.revision, key, actual, f"it to be created first: {history}", ("kind", "previous"))
        expected = _Counters(1, 1) if last is None else _Counters(last.version + 1, last.owner_epoch + 1)
        return Break(row.revision, key, actual, f"{expected}: {history}", ("version", "current"))

    def _may_follow_a_gap(self, row: RowEntry, namespace: str, counters: _Counters, last: _ShardEnd | None) -> bool:
        """Whether the row before it may be missing."""
        newest, version = (self.start, 0) if last is None else (last.revision, last.version)
        hidden = sum(until - max(first, newest + 1) + 1 for first, until in self.gaps if until > newest)
        if namespace != self.complete_namespace:
            hidden += len(self._omitted) - bisect(self._omitted, newest)
        if last is None and self.start:
            return bool(hidden) or row.previous_revision is None or row.previous_revision <= self.start
        # Each of the rows between counted the version on.
        return 0 < counters.version - 1 - version <= hidden


def _identity(before: Any, after: Any) -> tuple[Key, _Counters]:
    image = after or before
    version = after["version"] if after else before["version"] + 1
    return (image["namespace"], image["shardId"]), _Counters(version, image["ownerEpoch"])


def _claimed(row: RowEntry, counters: _Counters) -> bytes:
    """The state that the row follows from, by its own columns."""
    if row.previous is None:
        return state_deleted(counters.version - 1, counters.owner_epoch - 1)
    return _state(row.previous, row.previous_revision, row.previous_updated_at, row.created_at)


def _state(image: str, revision: int | None, updated_at: datetime | None, created_at: datetime) -> bytes:
    """In tables that were edited these may be null: then it is a state that no row ends with."""
    if revision is None or updated_at is None:
        return b"unknown"
    digest = image_digest(image.encode())
    return state_there(digest, revision, microseconds(updated_at), microseconds(created_at))


def _retained_twice(row: RowEntry, key: Key, last: _ShardEnd) -> Break:
    return Break(row.revision, key, "was kept by a compaction", f"only its newest row, but {last}", ())


def _break_in_counters(row: RowEntry, key: Key, before: Mapping[str, Any], after: Mapping[str, Any]) -> Break:
    moved = before["ownerNodeId"] != after["ownerNodeId"]
    was, now = (_Counters(image["version"], image["ownerEpoch"]) for image in (before, after))
    expected = _Counters(was.version + 1, was.owner_epoch + moved)
    why = f"it has {'another' if moved else 'the same'} owner as with {was}"
    return Break(row.revision, key, f"updated to {now}", f"{expected}: {why}", ("current",))


def _break_in_images(row: RowEntry, key: Key, actual: str, before: Any, last: _ShardEnd) -> Break:
    was = _Counters(before["version"], before["ownerEpoch"])
    columns = tuple(
        column
        for column, recorded, newest in (
            ("previous", row.previous, last.image),
            ("previous_revision", row.previous_revision, last.revision),
            ("previous_updated_at", row.previous_updated_at, last.updated_at),
            ("created_at", row.created_at, last.created_at),
        )
        if recorded != newest
    )
    counters = _Counters(last.version, last.owner_epoch)
    actual = f"{actual}, after {was} of revision {row.previous_revision}"
    expected = f"after {counters} of revision {last.revision}: {', '.join(columns)} not as it was left"
    return Break(row.revision, key, actual, expected, columns)
