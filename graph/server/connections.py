"""Which connections a process takes, and what each may do before its request is whole.

The descriptors of a process are kept in reserve for its database, files and plans: what takes a connection more than
there is room for costs the one that has waited longest for a request, and never a client that is being answered.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol

from graph.execution.errors import Code
from graph.server.descriptors import backlog, file_limit, open_files
from graph.server.garbage import ConnectionGarbage
from graph.settings import Settings

_RESERVED_FILES: Final = 32
"""For files that are read while the server runs, for plans, and for what libraries open."""

_EVICTED_AT_ONCE: Final = 32
"""Connections closed to make room: to find those that wait takes a look at all, and must not be done for each."""

_LOG_SECONDS: Final = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WireLimits:
    """Times in seconds. What is slower, or larger, is refused or closed."""

    head_bytes: int = 32_768
    """Of request line and headers, give or take what is read at once (8 KiB): a client that is known by its token has
    sent a kilobyte or two."""
    headers: int = 100
    head_seconds: float = 10.0
    """From the first byte of a request to the end of its headers, and for the first byte on a new connection."""
    body_seconds: float = 10.0
    """For a body, and more for each `body_bytes_a_second` of it that have come."""
    body_bytes_a_second: int = 4_096
    send_seconds: float = 30.0
    """For the next `sent_bytes_a_second` of each second of an answer to be taken."""
    sent_bytes_a_second: int = 1_024


class Connection(Protocol):
    """One of a server's."""

    @property
    def waits_since(self) -> float | None:
        """Since when, by the clock of the event loop, the server waits for a request, or for a token on a socket; null
        while it is answering one."""

    def make_room(self) -> None:
        """Close it now, for another one."""


class Connections:
    """Those that are open in this process, by the addresses of their clients."""

    def __init__(self, most: int, most_of_address: int, is_counted: Callable[[str], bool] | None = None) -> None:
        """`most_of_address` may come from one address if it `is_counted`, which loopback addresses are not: proxies and
        everything else on this machine have them. 0 for any number."""
        self.most = most
        self._most_of_address = most_of_address
        self._is_counted = is_counted or _is_remote
        self._of_address: Counter[str] = Counter()
        self.open = self._admitted = 0
        self._garbage = ConnectionGarbage()
        self._logged: dict[str, float] = {}

    def refusal(
        self, client: tuple[str, int] | None, connections: Collection[Connection]
    ) -> tuple[HTTPStatus, Code, str] | None:
        """Why a client is not served that has connected and is one of `connections`; null if it is. Others may be
        closed for it. Each call is followed by one of `ended`."""
        address = client[0] if client else ""
        self._of_address[address] += 1
        self.open += 1
        if self._most_of_address and self._of_address[address] > self._most_of_address and self._is_counted(address):
            self._log_at_times(
                "address",
                f"{address} has {self._most_of_address:,} connections open, as many as one address may have "
                "(connections_per_address), and gets no more",
            )
            return (
                HTTPStatus.TOO_MANY_REQUESTS,
                Code.TOO_MANY_CONNECTIONS,
                f"{self._most_of_address:,} connections are open from this address, and no more are taken.",
            )
        if len(connections) <= self.most:
            return None
        waiting = sorted(
            (each for each in connections if each.waits_since is not None), key=lambda each: each.waits_since or 0.0
        )
        # The newest is the one that room is made for.
        evicted = waiting[: min(_EVICTED_AT_ONCE, len(waiting) - 1)]
        self._log_at_times(
            "room",
            f"All {self.most:,} connections that this process has descriptors for are open (ulimit -n); those that "
            f"have waited longest for a request are closed ({len(evicted)} now)",
        )
        for connection in evicted:
            connection.make_room()
        if evicted:
            return None
        return (
            HTTPStatus.SERVICE_UNAVAILABLE,
            Code.TOO_MANY_CONNECTIONS,
            "The server has as many connections open as it has descriptors for. Try again shortly.",
        )

    def ended(self, client: tuple[str, int] | None) -> None:
        address = client[0] if client else ""
        self._of_address[address] -= 1
        if self._of_address[address] <= 0:
            del self._of_address[address]
        self.open -= 1

    def admitted(self) -> None:
        """One is a socket whose caller is known, and will stay. Followed by one of `left`."""
        self._admitted += 1
        self._garbage.opened(self._admitted)

    def left(self) -> None:
        self._admitted -= 1
        self._garbage.closed(self._admitted)

    def _log_at_times(self, what: str, line: str) -> None:
        """One line, however many connections it is about: then none of its kind for a minute."""
        now = time.monotonic()
        if now - self._logged.get(what, -_LOG_SECONDS) >= _LOG_SECONDS:
            self._logged[what] = now
            _log.warning("%s", line)


def connections_of(settings: Settings) -> Connections:
    """As many as this process has descriptors for, those that its store may still open set aside. Of processes that
    serve together each has its share of what one address may have."""
    reserved = open_files() + settings.read_connections + settings.write_connections + _RESERVED_FILES
    most = max(1, file_limit() - reserved - backlog())
    given = settings.connections_per_address
    of_address = max(1, most // 2) if given is None else -(-given // settings.workers)
    return Connections(most, of_address)


def _is_remote(address: str) -> bool:
    try:
        return not ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False  # of no network, such as a Unix socket
