"""How a client is doing."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What may be thought of the answers of a client."""

    LIVE = "LIVE"
    """Followed to the end of the stream, and proven right when it was read."""

    BEHIND = "BEHIND"
    """Connected, but catching up, or about to be replaced because it was found wrong or cannot be followed further."""

    AWAY = "AWAY"
    """No server can be reached. The last good table answers."""


@dataclass(frozen=True, slots=True)
class Lag:
    """`seconds` since the table was last known to be the newest there is; infinite if it never was.

    An idle server says so every `bookmark_seconds` of its settings. `revisions`: how far the newest revision heard of
    is ahead.
    """

    seconds: float
    revisions: int


@dataclass(frozen=True, slots=True)
class Counters:
    """Since the client was made: tables read, connections opened, proofs that succeeded, tables found wrong."""

    tables: int = 0
    connections: int = 0
    proofs: int = 0
    wrong: int = 0
