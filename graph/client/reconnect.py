"""Following a stream of batches for ever: through lost connections and restarts of the server, from the last cursor."""

import random
from collections.abc import Callable, Generator, Iterator
from typing import Final

from graph.client.address import Address
from graph.client.errors import ConnectionLost, ServerUnreachable
from graph.client.records import Json

_FIRST_SECONDS: Final = 0.25

_LONGEST_SECONDS: Final = 15.0

_LONGEST_RELIST_SECONDS: Final = 60.0


def follow(
    address: Address,
    open_stream: Callable[[str | None], Iterator[Json]],
    cursor: str | None,
    pause: Callable[[float], None],
    tell: Callable[[str], None],
) -> Generator[Json, None, None]:
    """Every batch after `cursor`; without one, after the moment the stream is first open.

    A batch is done with when the next one is asked for: only then does its cursor count. A stream that cannot be
    opened the first time raises ServerUnreachable, later it is tried again until it can.
    """
    failures = 0
    opened = False
    while True:
        try:
            for batch in open_stream(cursor):
                if failures:
                    tell(f"Connected again, after {failures} attempts." if failures > 1 else "Connected again.")
                failures, opened = 0, True
                yield batch
                cursor = batch["cursor"]
        except ConnectionLost as lost:
            if not opened:
                raise ServerUnreachable(address, lost) from lost
            if not failures:
                tell(f"Interrupted: {lost}. Trying again; nothing will be missed.")
            pause(delay(failures, random.random()))  # noqa: S311 - spreads clients out, guards nothing
            failures += 1


def delay(failures: int, spread: float) -> float:
    """Seconds to wait after so many failures in a row. `spread` is from 0 to 1: clients must not come all at once."""
    longest = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** min(failures, 16))
    return longest * (1 + spread) / 2


def relist_delay(first_seconds: float, failures: int, spread: float) -> float:
    """Seconds to wait before a table is read anew, after so many failures in a row: any up to a bound that grows (full
    jitter). A new epoch ends the streams of all clients within a tenth of a second, and a table is the most that one
    asks for."""
    return spread * min(_LONGEST_RELIST_SECONDS, first_seconds * 2.0 ** min(failures, 16))
