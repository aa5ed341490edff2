"""A shard as a register with compare-and-set: what the documentation promises of it, not the store's code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias


class WriteKind(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class Seen(NamedTuple):
    """What an answer shows of a shard that is there."""

    version: int
    owner: str
    owner_epoch: int

    def __str__(self) -> str:
        return f"version {self.version}, owner {self.owner}, epoch {self.owner_epoch}"


class Register(NamedTuple):
    """A shard. Absent, it remembers version and epoch, which are never reused; 0 before it was first created."""

    version: int = 0
    owner: str | None = None
    owner_epoch: int = 0

    @property
    def seen(self) -> Seen | None:
        return None if self.owner is None else Seen(self.version, self.owner, self.owner_epoch)


@dataclass(frozen=True, slots=True)
class Read:
    """Null: it was not there."""

    seen: Seen | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Not at the version expected (null: absent), but as `seen`."""

    expected: int | None
    seen: Seen | None


@dataclass(frozen=True, slots=True)
class Write:
    """Expects a version, or, to create it, that it is absent. A deletion has no owner.

    `answer` is the record after it, or before it for a deletion; null if there was none.
    """

    kind: WriteKind
    expected: int | None
    owner: str | None
    answer: Seen | None = None


Action: TypeAlias = Read | Refusal | Write


def written(state: Register, write: Write) -> Register | None:
    """What it makes of the register, whatever was answered; null if it is not as expected."""
    present = state.owner is not None
    if write.kind is WriteKind.CREATE:
        return None if present else Register(state.version + 1, write.owner, state.owner_epoch + 1)
    if not present or state.version != write.expected:
        return None
    if write.kind is WriteKind.DELETE:
        return Register(state.version + 1, None, state.owner_epoch)
    return Register(state.version + 1, write.owner, state.owner_epoch + (state.owner != write.owner))


class RegisterModel:
    """Model[Register, Action]."""

    initial: Final = Register()

    def step(self, state: Register, action: Action) -> Register | None:
        match action:
            case Read(seen):
                return state if state.seen == seen else None
            case Refusal(expected, seen):
                present = None if seen is None else seen.version
                return state if state.seen == seen and present != expected else None
            case Write(kind, _, _, answer):
                after = written(state, action)
                told = (state if kind is WriteKind.DELETE else after) if after else None
                return after if answer is None or (told and told.seen == answer) else None

    def only_reads(self, action: Action) -> bool:
        return not isinstance(action, Write)

    def is_spent(self, state: Register, action: Action) -> bool:
        """Versions only grow."""
        if isinstance(action, Write):
            if action.answer is not None and action.kind is not WriteKind.DELETE:
                return state.version >= action.answer.version
            return action.expected is not None and state.version > action.expected
        return action.seen is not None and state.version > action.seen.version


REGISTER: Final = RegisterModel()


def bears_on(write: Write, proof: Iterable[Action]) -> bool:
    """Whether it may have been at the versions that the proof is about."""
    versions = [version for action in proof for version in _versions(action)]
    own = _versions(write)
    return not own or not versions or (min(own) <= max(versions) and max(own) >= min(versions))


def forgetful(write: Write) -> Write:
    """As it was sent: what was answered is not known."""
    return replace(write, answer=None)


def _versions(action: Action) -> list[int]:
    """Before and after it, as far as it says."""
    match action:
        case Write(_, expected, _, answer):
            if expected is not None:
                return [expected, expected + 1]
            return [] if answer is None else [answer.version - 1, answer.version]
        case _:
            return [] if action.seen is None else [action.seen.version]
