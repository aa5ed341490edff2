"""PostgreSQL's messages to a listening client, with the notifications among them dropped or doubled.

Each is a type (one byte) and a length (four, counting themselves); NotificationResponse is of type A.
https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_TYPE_AND_LENGTH: Final = 5
_NOTIFICATION: Final = ord("A")
LISTENER: Final = b"omnirelay-listener"
"""In the first message of a connection that listens: its application_name."""


@dataclass(slots=True)
class Notifications:
    """How often each one is passed on: 0 drops them, 2 doubles them. `tampered` counts those that were not let through
    as they came.
    """

    copies: int = 1
    tampered: int = 0


class Rewriter:
    """The bytes of one connection, from PostgreSQL, cut at whole messages."""

    def __init__(self, notifications: Notifications) -> None:
        self._notifications = notifications
        self._rest = b""

    def __call__(self, data: bytes) -> bytes:
        """What to pass on for these; what is left of an unfinished message waits for the next call."""
        data = self._rest + data
        passed: list[bytes] = []
        start = 0
        while len(data) - start >= _TYPE_AND_LENGTH:
            end = start + 1 + int.from_bytes(data[start + 1 : start + _TYPE_AND_LENGTH], "big")
            if end > len(data):
                break
            passed.append(data[start:end] * self._copies(data[start]))
            start = end
        self._rest = data[start:]
        return b"".join(passed)

    def _copies(self, kind: int) -> int:
        if kind != _NOTIFICATION or self._notifications.copies == 1:
            return 1
        self._notifications.tampered += 1
        return self._notifications.copies
