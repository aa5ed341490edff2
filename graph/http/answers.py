"""Answers kept whole: their bytes are sent again while everything that they were read from stands.

Nodes of a mesh ask for the same few shards and lists for ever, in the same bytes, and dashboards for the same pages of
history. An answer is found by the body of the request and the scopes of its caller, and is good while each record, page
and position that was read for it would be read again: that is looked at each time, and nothing is ever out of date.
docs/decisions/0041-answers-kept-whole.md.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeAlias, TypeVar

from graph.auth.principal import Scope

KEPT_BYTES: Final = 32 * 1024 * 1024

LONGEST_REQUEST: Final = 4_096

LONGEST_ANSWER: Final = 262_144

_BYTES_AN_ENTRY: Final = 900
"""Beside request and answer: of what is kept with them, and of records that may have been replaced since."""

Key: TypeAlias = tuple[bytes, frozenset[Scope]]

R = TypeVar("R")


class Answer(Generic[R]):
    """`stands` tells whether it would be the same now. `is_used`: whether it was sent again since it was last
    passed."""

    __slots__ = ("body", "is_used", "key", "stands")

    def __init__(self, key: Key, body: bytes, stands: Callable[[], R]) -> None:
        self.key = key
        self.body = body
        self.stands = stands
        self.is_used = False

    @property
    def size(self) -> int:
        return len(self.key[0]) + len(self.body) + _BYTES_AN_ENTRY


class Answers(Generic[R]):
    """At most `limit` bytes. What tells whether an answer stands gives R: a boolean, or what is awaited for one.

    What makes room is the oldest answer that was not sent again since it was last passed (CLOCK): one at a time, so
    that nothing is held up by thousands that go at once, and as many are found as there is room for, not half of them.
    """

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self._limit = limit
        self._answers: dict[Key, Answer[R]] = {}
        self._queue: deque[Answer[R]] = deque()
        self.size = 0
        """Bytes, about."""

    def get(self: "Answers[bool]", body: bytes, scopes: frozenset[Scope]) -> bytes | None:
        """The answer to this request, if there is one that stands."""
        answer = self.find(body, scopes)
        if answer is None or not answer.stands():
            return None
        answer.is_used = True
        return answer.body

    def find(self, body: bytes, scopes: frozenset[Scope]) -> Answer[R] | None:
        """What was kept for this request, whether it stands or not: to be marked as used where it is sent again."""
        return None if len(body) > LONGEST_REQUEST else self._answers.get((body, scopes))

    def put(self, body: bytes, scopes: frozenset[Scope], answer: bytes, stands: Callable[[], R]) -> None:
        if len(body) > LONGEST_REQUEST or len(answer) > LONGEST_ANSWER:
            return
        # A copy: what orjson returns may hold some kilobytes more.
        made = Answer((body, scopes), bytes(memoryview(answer)), stands)
        replaced = self._answers.get(made.key)
        if replaced is not None:
            self.size += len(made.body) - len(replaced.body)
            replaced.body, replaced.stands, replaced.is_used = made.body, stands, True
            self._make_room(0)
            return
        self._make_room(made.size)
        self._answers[made.key] = made
        self._queue.append(made)
        self.size += made.size

    def _make_room(self, size: int) -> None:
        queue = self._queue
        while queue and self.size + size > self._limit:
            oldest = queue.popleft()
            if oldest.is_used:
                oldest.is_used = False
                queue.append(oldest)
            else:
                del self._answers[oldest.key]
                self.size -= oldest.size
