"""What the thread that follows the stream shows to all others: written by that one, read by any without a lock.

How a client is doing.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias

from graph.client.errors import ClientError
from graph.client.table import LiveTable, Namespaces, ShardChange, TableChange, difference

Listener: TypeAlias = Callable[[TableChange], object]

_log = logging.getLogger("graph.client")

_NOTHING: Final[Namespaces] = {}


class State(StrEnum):
    """What may be thought of the answers of a client."""

    LIVE = "LIVE"
    """Followed to the end of the stream, and proven right when it was read."""

    BEHIND = "BEHIND"
    """Connected, but catching up, or about to be replaced because it was found wrong or cannot be followed further."""

    AWAY = "AWAY"
    """No server can be reached. The last good table answers."""


class ClientState:
    """`namespaces` is what lookups read: replaced as a whole when the table is."""

    def __init__(self) -> None:
        self.namespaces: Namespaces = _NOTHING
        self.table: LiveTable | None = None
        self.state = State.AWAY
        self.counters = Counters()
        self.newest = 0
        self.losses = 0
        self.problem: str = "no server has been asked yet"
        self.refusal: ClientError | None = None
        self.closed = False
        self.moved = threading.Condition()
        self._current_at = -math.inf
        self._listeners: tuple[Listener, ...] = ()

    @property
    def position(self) -> int:
        return 0 if self.table is None else self.table.position

    @property
    def seconds_behind(self) -> float:
        return _now() - self._current_at

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Until what this returns is called."""
        with self.moved:
            self._listeners = (*self._listeners, listener)

        def leave() -> None:
            with self.moved:
                self._listeners = tuple(other for other in self._listeners if other is not listener)

        return leave

    def count(self, **more: int) -> None:
        self.counters = replace(self.counters, **{name: getattr(self.counters, name) + by for name, by in more.items()})
        self.wake()

    def heard_of(self, revision: int) -> None:
        self.newest = max(self.newest, revision)

    def show(self, table: LiveTable) -> None:
        """From now on this table answers. The new one is there before anybody hears of it."""
        before = self.namespaces
        self.table, self.namespaces = table, table.shards.namespaces
        # The first revision of a restored store may be lower than what was heard of before.
        self.newest = table.position
        if self._listeners:
            self._tell(TableChange(table.position, tuple(difference(before, self.namespaces)), replaced=True))

    def changed(self, changes: list[ShardChange]) -> None:
        """The table that answers has moved on."""
        if changes and self._listeners:
            self._tell(TableChange(self.position, tuple(changes), replaced=False))

    def note(self, state: State) -> None:
        """How things are now; LIVE says that the table is the newest there is. Wakes who waits."""
        if state is State.LIVE:
            self._current_at = _now()
        if state is not self.state:
            _log.info("the table is %s at revision %d", state, self.position)
        self.state = state
        self.wake()

    def wake(self) -> None:
        with self.moved:
            self.moved.notify_all()

    def _tell(self, change: TableChange) -> None:
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:  # noqa: BLE001 - a listener's fault is not the table's
                _log.exception("a listener to changes of the table failed at revision %d", change.revision)


def _now() -> float:
    """Seconds that nobody sets, and that go on while the host is asleep: the table grows old meanwhile."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


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
