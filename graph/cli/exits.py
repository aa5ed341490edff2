"""What the exit code of every command says, and the failure that carries one."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Self


class Exit(IntEnum):
    """The exit codes there are. docs/cli.md lists them with their meaning; a test compares the two."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = 0, "Done."
    NO = 1, "The answer is no: `diff --exit-code` found a difference, a check failed, a server did not start."
    INVALID = 2, "Wrong usage or invalid input. Nothing was written by the request that was refused."
    REFUSED = (
        3,
        "Refused: a version conflict, something in the way, a policy, or another request's idempotency key.",
    )
    NOT_FOUND = 4, "What the command names is not there."
    UNAVAILABLE = 5, "The server or the database cannot be reached, or cannot answer just now. Try again."
    POSITION = (
        6,
        "A place in the stream cannot be served: COMPACTED, EPOCH_MISMATCH, FUTURE_CURSOR, FUTURE_REVISION.",
    )
    DENIED = 7, "The server wants a token, does not take the one it got, or that does not allow this."
    INTERNAL = 70, "A defect, here or in the server. Report it."
    INTERRUPTED = 130, "Interrupted by Ctrl-C. `watch` and `serve` end with 0 then: that is how they are stopped."
    PIPE_CLOSED = 141, "Whoever read the output stopped reading, as `head` does."


@dataclass
class Failure(Exception):
    """Why a command cannot do what it was asked: what happened, to what, and then what to do about it."""

    exit: Exit
    message: str
    advice: Sequence[str] = ()

    def __str__(self) -> str:
        return "\n".join([self.message, *self.advice])


class PipeClosed(Exception):
    """Whoever read the output stopped reading."""
