"""Answers to lookups, kept whole: their bytes are sent again while everything that they were read from stands.

Nodes of a mesh ask for the same few shards and lists for ever, in the same bytes. An answer is found by the body of the
request and the scopes of its caller, and is good while each record, page and position that was read for it would be
read again: that is looked at each time, and nothing is ever out of date. docs/decisions/0041-answers-kept-whole.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from graph.auth.principal import Scope

KEPT_BYTES: Final = 32 * 1024 * 1024

LONGEST_REQUEST: Final = 4_096

LONGEST_ANSWER: Final = 262_144

_BYTES_AN_ENTRY: Final = 900
"""Beside request and answer: of what is kept with them, and of records that may have been replaced since."""

Key: TypeAlias = tuple[bytes, frozenset[Scope]]


class Answer(NamedTuple):
    """`stands` is whether it would be the same now."""

    body: bytes
    stands: Callable[[], bool]


@dataclass(slots=True)
class _Generation:
    answers: dict[Key, Answer]
    size: int = 0


class Answers:
    """Two generations of at most half of `limit` bytes each; an answer that is sent again is of the young one."""

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self._limit = limit // 2
        self._young = _Generation({})
        self._old = _Generation({})

    @property
    def size(self) -> int:
        """Bytes, about."""
        return self._young.size + self._old.size

    def get(self, body: bytes, scopes: frozenset[Scope]) -> bytes | None:
        """The answer to this request, if there is one that stands."""
        if len(body) > LONGEST_REQUEST:
            return None
        key = body, scopes
        answer = self._young.answers.get(key)
        if answer is not None:
            return answer.body if answer.stands() else None
        answer = self._old.answers.get(key)
        if answer is None or not answer.stands():
            return None
        self._put(key, answer)
        return answer.body

    def put(self, body: bytes, scopes: frozenset[Scope], answer: bytes, stands: Callable[[], bool]) -> None:
        if len(body) <= LONGEST_REQUEST and len(answer) <= LONGEST_ANSWER:
            # A copy: what orjson returns may hold some kilobytes more.
            self._put((body, scopes), Answer(bytes(memoryview(answer)), stands))

    def _put(self, key: Key, answer: Answer) -> None:
        young = self._young
        replaced = young.answers.get(key)
        young.answers[key] = answer
        young.size += _size(key, answer) if replaced is None else len(answer.body) - len(replaced.body)
        if young.size > self._limit:
            self._old, self._young = young, _Generation({})


def _size(key: Key, answer: Answer) -> int:
    return len(key[0]) + len(answer.body) + _BYTES_AN_ENTRY
