"""The table a client follows, what changes in it, and which namespaces it has. Pure: no I/O, no clock.

It begins as pages that were read one after the other while writers went on writing, and as the position in the stream
that the oldest of them was read at. The diffs from there on make it whole: from `whole_from`, the revision of the
newest page, it is the server's table at one revision after each diff (see `persistence/shard_table.py`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

from graph.client.records import Batch, Diff, Fingerprint
from persistence.codec.encoding import digest_term
from persistence.model.records import Shard
from persistence.shard_table import ShardTable

Namespaces: TypeAlias = Mapping[str, Mapping[str, Shard]]

_EMPTY: Final = Fingerprint(0, 0)

_NONE: Final[Mapping[str, Shard]] = {}


class StreamBroken(Exception):
    """The stream left something out, or came out of order. The message has the revisions."""


@dataclass(frozen=True, slots=True)
class Selection:
    """`namespaces` null is for all of them. `allow_missing`: whether some may be created later."""

    namespaces: frozenset[str] | None = None
    allow_missing: bool = False

    @classmethod
    def of(cls, namespaces: Iterable[str] | None, *, allow_missing: bool = False) -> Self:
        """Raises TypeError for one string and for what is none, ValueError for nothing: a client of no namespace would
        answer null for every owner, and be LIVE."""
        if namespaces is None:
            return cls()
        if isinstance(namespaces, str):
            raise TypeError(f"namespaces: give a list of names and not one string, for example [{namespaces!r}]")
        names = list(namespaces)
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"namespaces: {name!r} is not a name")
        if not names:
            raise ValueError("namespaces: name at least one, or leave it out to keep them all")
        return cls(frozenset(names), allow_missing)

    def __contains__(self, namespace: str) -> bool:
        return self.namespaces is None or namespace in self.namespaces

    @property
    def stream_namespace(self) -> str | None:
        """The namespace whose stream is requested, or null for that of everything.

        Of several namespaces everything is taken and most of it left: one stream has one order. So it is of one that
        may not be there, whose own stream would be refused.
        """
        if self.namespaces is None or len(self.namespaces) > 1 or self.allow_missing:
            return None
        return next(iter(self.namespaces))

    @property
    def lists(self) -> list[str | None]:
        """The lists that make up the table, by namespace; null is for the one of everything."""
        return [None] if self.namespaces is None else [*sorted(self.namespaces)]


@dataclass(frozen=True, slots=True)
class ShardChange:
    """One shard as the table had it before and has it now; null is for not at all."""

    namespace: str
    shard_id: str
    previous: Shard | None
    current: Shard | None


@dataclass(frozen=True, slots=True)
class TableChange:
    """What brought the table to `revision`, in order.

    `replaced`: a new table was read, at first or because the old one could not be followed any further; `shards` is the
    net difference between the two.
    """

    revision: int
    shards: tuple[ShardChange, ...]
    replaced: bool


class LiveTable:
    """One thread writes it, any may read it."""

    def __init__(self, cursor: str, position: int, selection: Selection) -> None:
        self.shards = ShardTable()
        self.cursor = cursor
        self.position = position
        self.whole_from = position
        self._selection = selection
        self._gapless = selection.stream_namespace is None
        self._fingerprints: dict[str, Fingerprint] = {}
        self._changed: dict[str, int] = {}
        self._trail: dict[str, list[tuple[int, Fingerprint]]] | None = None

    @property
    def whole(self) -> bool:
        return self.position >= self.whole_from

    def begin_by(self, cursor: str, position: int) -> None:
        """Follow from there at the latest. A page may be older than the first: another server answered, or the same one
        from memory and no longer from the database."""
        if position < self.position:
            self.cursor, self.position = cursor, position

    def put(self, shards: Iterable[Shard], revision: int) -> None:
        """Take a page that was read at this revision."""
        self.whole_from = max(self.whole_from, revision)
        for shard in shards:
            self._take(Diff(shard.revision, shard.namespace, shard.shard_id, shard))

    def apply(self, batch: Batch) -> list[ShardChange]:
        """Take the next batch; what it changed, in order. Raises StreamBroken.

        What came before, as it may after a connection was lost, changes nothing. Where the stream is that of all
        namespaces, every revision comes by, so one that does not is noticed at once.
        """
        changes = []
        revision = self.position
        for diff in batch.diffs:
            if diff.revision <= self.position:
                continue
            self._require_next(revision, diff.revision)
            revision = diff.revision
            if diff.namespace in self._selection:
                changes += self._take(diff)
        self._require_end(revision, batch)
        self.position = max(revision, batch.revision)
        self.cursor = batch.cursor
        return changes

    def fingerprint(self, namespace: str) -> Fingerprint:
        """Of the shards as the server sent them, kept up to date diff by diff; `verification` compares the records."""
        return self._fingerprints.get(namespace, _EMPTY)

    def fingerprint_at(self, namespace: str, revision: int) -> Fingerprint | None:
        """As above, at a revision that the table has reached; null if the trail does not reach back so far."""
        if self._changed.get(namespace, 0) <= revision:
            return self.fingerprint(namespace)
        trail = (self._trail or {}).get(namespace, ())
        return next((fingerprint for reached, fingerprint in reversed(trail) if reached <= revision), None)

    def begin_trail(self) -> None:
        """From now on remember fingerprints as they were, for claims that are overtaken before they arrive."""
        self._trail = {name: [(self.position, fingerprint)] for name, fingerprint in self._fingerprints.items()}

    def end_trail(self) -> None:
        self._trail = None

    def _take(self, diff: Diff) -> list[ShardChange]:
        namespace, shard_id = diff.namespace, diff.shard_id
        before = self.shards.get(namespace, shard_id)
        if diff.current is None:
            self.shards.remove(namespace, shard_id, diff.revision)
        else:
            self.shards.put((diff.current,))
        after = self.shards.get(namespace, shard_id)
        self._changed[namespace] = max(self._changed.get(namespace, 0), diff.revision)
        if after is before:
            return []
        digest, shards = self.fingerprint(namespace)
        fingerprint = Fingerprint(digest ^ _term(before) ^ _term(after), shards + (before is None) - (after is None))
        self._fingerprints[namespace] = fingerprint
        if self._trail is not None:
            self._trail.setdefault(namespace, []).append((diff.revision, fingerprint))
        return [ShardChange(namespace, shard_id, before, after)]

    def _require_next(self, revision: int, found: int) -> None:
        if found <= revision or (self._gapless and found != revision + 1):
            raise StreamBroken(f"after revision {revision} came {found}")

    def _require_end(self, revision: int, batch: Batch) -> None:
        if self._gapless and batch.revision > revision:
            raise StreamBroken(f"a batch up to revision {batch.revision} ended with {revision}")


def _term(shard: Shard | None) -> int:
    return 0 if shard is None else digest_term(shard.shard_id, shard.version, shard.checksum)


def difference(before: Namespaces, after: Namespaces) -> Iterator[ShardChange]:
    """The net difference between two tables, namespace by namespace."""
    for namespace in sorted(before.keys() | after.keys()):
        held, holds = before.get(namespace, _NONE), after.get(namespace, _NONE)
        for shard_id, shard in held.items():
            if shard_id not in holds:
                yield ShardChange(namespace, shard_id, shard, None)
        for shard_id, shard in holds.items():
            if held.get(shard_id) != shard:
                yield ShardChange(namespace, shard_id, held.get(shard_id), shard)
