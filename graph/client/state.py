"""How a client is doing, as the thread that follows the stream writes it and any other reads it, without a lock."""

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
    """How good the answers of a client are."""

    LIVE = "LIVE"
    """Followed to the end of the stream, and verified when it was read."""

    BEHIND = "BEHIND"
    """Connected, but catching up, or about to be replaced because it was found wrong or cannot be followed further."""

    AWAY = "AWAY"
    """No server can be reached. The last good table answers."""


@dataclass(frozen=True, slots=True)
class Lag:
    """`seconds` since the table was last known to be the newest there is; infinite if it never was.

    An idle server confirms that every `bookmark_seconds` of its settings. `revisions`: how far ahead the newest known
    revision is.
    """

    seconds: float
    revisions: int


@dataclass(frozen=True, slots=True)
class Counters:
    """Since the client was made: tables read, connections opened, verifications that succeeded, tables found wrong."""

    tables: int = 0
    connections: int = 0
    proofs: int = 0
    wrong: int = 0


class ClientState:
    """`namespaces` is what lookups read: replaced as a whole when the table is."""

    def __init__(self) -> None:
        self.namespaces: Namespaces = _NOTHING
        self.table: LiveTable | None = None
        self.current = State.AWAY
        self.counters = Counters()
        self.newest = 0
        """The newest revision that was announced."""
        self.losses = 0
        """Failures to reach a server or to stay connected."""
        self.problem: str = "no server has been reached yet"
        self.refusal: ClientError | None = None
        self.updated = threading.Condition()
        """Notified after each change of any of these."""
        self._live_at = -math.inf
        self._listeners: tuple[Listener, ...] = ()

    @property
    def position(self) -> int:
        return 0 if self.table is None else self.table.position

    @property
    def seconds_behind(self) -> float:
        return _now() - self._live_at

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """What this returns removes it."""
        with self.updated:
            self._listeners = (*self._listeners, listener)

        def remove() -> None:
            with self.updated:
                self._listeners = tuple(other for other in self._listeners if other is not listener)

        return remove

    def count(self, **more: int) -> None:
        self.counters = replace(self.counters, **{name: getattr(self.counters, name) + by for name, by in more.items()})
        self._wake()

    def note_newest(self, revision: int) -> None:
        self.newest = max(self.newest, revision)

    def publish(self, table: LiveTable) -> None:
        """From now on this table answers. Listeners are called after that."""
        before = self.namespaces
        self.table, self.namespaces = table, table.shards.namespaces
        # The first revision of a restored store may be lower than the newest known of before.
        self.newest = table.position
        if self._listeners:
            self._notify(TableChange(table.position, tuple(difference(before, self.namespaces)), replaced=True))

    def publish_changes(self, changes: list[ShardChange]) -> None:
        """The table that answers has moved on."""
        if changes and self._listeners:
            self._notify(TableChange(self.position, tuple(changes), replaced=False))

    def enter(self, state: State) -> None:
        """LIVE: the table is the newest there is now."""
        if state is State.LIVE:
            self._live_at = _now()
        if state is not self.current:
            _log.info("the table is %s at revision %d", state, self.position)
        self.current = state
        self._wake()

    def _wake(self) -> None:
        with self.updated:
            self.updated.notify_all()

    def _notify(self, change: TableChange) -> None:
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:  # noqa: BLE001 - a listener's fault is not the table's
                _log.exception("a listener to changes of the table failed at revision %d", change.revision)


def _now() -> float:
    """Seconds of a clock that is never set, and goes on while the host is asleep: the table grows old meanwhile."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
