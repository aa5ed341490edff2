"""What clients sent and were answered: all that the verdict has of them. Times are of one monotonic clock, in ns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from tests.linearizability.register import Seen, WriteKind

NOTHING_WRITTEN: Final = frozenset(
    {"TRANSIENT_CONFLICT", "OVERLOADED", "LOCKED", "UNAVAILABLE", "FENCED", "SCHEMA_OUT_OF_DATE"}
)
"""Codes that promise that the request wrote nothing. The verdict relies on them, and compares them with history."""

NO_ANSWER: Final = "no answer"


class ReadMode(StrEnum):
    """`latest`: at least the newest revision that any client has seen. `session`: at least the newest that this
    client has. `default`: no revision is named."""

    LATEST = "latest"
    SESSION = "session"
    DEFAULT = "default"


class Told(NamedTuple):
    """A shard as an answer shows it. `revision` is that of its last change."""

    seen: Seen
    revision: int

    def __str__(self) -> str:
        return f"{self.seen}, revision {self.revision}"


class Attempt(NamedTuple):
    """One request to one server. `ending` is null if it was answered, else the code of the error, or NO_ANSWER."""

    server: int
    sent: int
    ended: int
    ending: str | None

    @property
    def may_have_written(self) -> bool:
        return self.ending not in NOTHING_WRITTEN


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Committed. `told` is the record after it, or before it for a deletion; `revision` is the one it was given."""

    change_id: int
    revision: int
    told: Told
    replayed: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was written: the shard was as told, null for absent."""

    told: Told | None


@dataclass(slots=True)
class WriteRecord:
    """One write, sent once or repeatedly under one key. `expected` is null for a creation.

    Only the last of the `attempts` can have been answered with `answer`; null if none was.
    """

    client: int
    shard: str
    kind: WriteKind
    expected: int | None
    owner: str | None
    key: str
    attempts: list[Attempt] = field(default_factory=list)
    answer: Acknowledged | Refused | None = None

    @property
    def unanswered(self) -> Sequence[Attempt]:
        """Of those that got no answer, what may have written."""
        attempts = self.attempts if self.answer is None else self.attempts[:-1]
        return [attempt for attempt in attempts if attempt.may_have_written]

    @property
    def invoked(self) -> int:
        """Before this it cannot have taken effect."""
        if self.unanswered:
            return self.unanswered[0].sent
        return self.attempts[-1].sent

    @property
    def returned(self) -> int:
        return self.attempts[-1].ended

    def __str__(self) -> str:
        what = f"{self.kind} {self.shard}"
        if self.expected is not None:
            what += f" expecting version {self.expected}"
        if self.owner is not None:
            what += f", owner {self.owner}"
        tried = ", ".join(f"server {each.server}: {each.ending or _answered(self.answer)}" for each in self.attempts)
        return f"client {self.client}: {what} ({self.key}) -> {tried}"


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """One read of one shard, or of all that a list shows. `stamp` is the revision of a list, which alone has one."""

    client: int
    server: int
    mode: ReadMode
    at_least: int | None
    invoked: int
    returned: int
    shards: Mapping[str, Told | None]
    stamp: int | None

    def __str__(self) -> str:
        least = "" if self.at_least is None else f" at least {self.at_least}"
        stamp = "" if self.stamp is None else f" at revision {self.stamp}"
        shown = "; ".join(f"{shard}: {told or 'absent'}" for shard, told in self.shards.items())
        return f"client {self.client}: {self.mode} read{least} -> server {self.server}{stamp}: {shown}"


Entry: TypeAlias = WriteRecord | ReadRecord


@dataclass
class Journal:
    """`complaints` are answers that should never be given. `endings` counts how requests ended without an answer.

    `newest` is the highest revision that any answer has named.
    """

    writes: list[WriteRecord] = field(default_factory=list)
    reads: list[ReadRecord] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    endings: dict[str, int] = field(default_factory=dict)
    newest: int = 0

    @property
    def operations(self) -> int:
        return len(self.writes) + len(self.reads)

    def acknowledged(self) -> Iterator[tuple[WriteRecord, Acknowledged]]:
        for write in self.writes:
            if isinstance(write.answer, Acknowledged):
                yield write, write.answer

    def refused(self) -> Iterator[tuple[WriteRecord, Refused]]:
        for write in self.writes:
            if isinstance(write.answer, Refused):
                yield write, write.answer

    def count_ending(self, ending: str) -> None:
        self.endings[ending] = self.endings.get(ending, 0) + 1


def _answered(answer: Acknowledged | Refused | None) -> str:
    match answer:
        case Acknowledged():
            replayed = " (replayed)" if answer.replayed else ""
            return f"change {answer.change_id}, revision {answer.revision}, {answer.told.seen}{replayed}"
        case Refused():
            return f"refused, it is {answer.told or 'absent'}"
        case None:
            return NO_ANSWER
