"""Backoff, and a stream of batches that goes on from its last cursor through lost connections and restarts.

Not stamina's, which the server retries with: that sleeps, where a pause here ends when its client is stopped; it counts
the failures of one call, where these are of a connection; and its import takes 35 ms, a third of the client's own.
"""

import random
from collections.abc import Callable, Generator, Iterator
from typing import Final

from graph.client.address import Address
from graph.client.errors import ConnectionLost, ServerUnreachable
from graph.client.records import Json

_FIRST_SECONDS: Final = 0.25

_LONGEST_SECONDS: Final = 15.0

_LONGEST_RELIST_SECONDS: Final = 60.0


class Backoff:
    """Pauses that grow with each failure in a row, with jitter, so that clients do not come all at once."""

    def __init__(self, wait: Callable[[float], object], jitter: Callable[[], float] = random.random) -> None:
        """`wait` takes seconds; `jitter` returns from 0 to 1."""
        self._wait = wait
        self._jitter = jitter
        self.failures = 0

    def pause(self) -> None:
        """After a failure to reach a server, or to be answered."""
        self._wait(delay(self.failures, self._jitter()))
        self.failures += 1

    def pause_before_relist(self, first_seconds: float) -> None:
        """After the end of a stream that cannot be resumed."""
        self._wait(relist_delay(first_seconds, self.failures, self._jitter()))
        self.failures += 1

    def reset(self) -> None:
        """After a success."""
        self.failures = 0


def delay(failures: int, jitter: float) -> float:
    """Seconds to wait after so many failures in a row: from half a bound to the bound, which grows."""
    return _bound(_FIRST_SECONDS, _LONGEST_SECONDS, failures) * (1 + jitter) / 2


def relist_delay(first_seconds: float, failures: int, jitter: float) -> float:
    """Seconds to wait before a table is read anew, after so many failures in a row: any up to a bound that grows (full
    jitter). A new epoch ends the streams of all clients within a tenth of a second, and a table is the most that one
    requests."""
    return _bound(first_seconds, _LONGEST_RELIST_SECONDS, failures) * jitter


def _bound(first: float, longest: float, failures: int) -> float:
    return min(longest, first * 2.0 ** min(failures, 16))


def follow(
    address: Address,
    open_stream: Callable[[str | None], Iterator[Json]],
    cursor: str | None,
    wait: Callable[[float], object],
    report: Callable[[str], None],
) -> Generator[Json, None, None]:
    """Every batch after `cursor`; without one, from when the stream is first open.

    A batch is done with when the next one is requested: only then does its cursor count. A stream that cannot be
    opened the first time raises ServerUnreachable, later it is tried again until it can. `report` takes a message when
    the connection is lost and when it is back.
    """
    backoff = Backoff(wait)
    opened = False
    while True:
        try:
            for batch in open_stream(cursor):
                if backoff.failures:
                    attempts = f", after {backoff.failures} attempts" if backoff.failures > 1 else ""
                    report(f"Connected again{attempts}.")
                backoff.reset()
                opened = True
                yield batch
                cursor = batch["cursor"]
        except ConnectionLost as lost:
            if not opened:
                raise ServerUnreachable(address, lost) from lost
            if not backoff.failures:
                report(f"Interrupted: {lost}. Trying again; nothing will be missed.")
            backoff.pause()
