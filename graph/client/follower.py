"""The thread that maintains a table: reads it page by page, follows the stream, verifies it, and reads it anew."""

import logging
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from graph.client.address import Address
from graph.client.cache_file import CacheFile
from graph.client.errors import POSITION_LOST, ClientError, ConnectionLost, OperationRefused
from graph.client.http import Requests, pages, rows
from graph.client.reconnect import Backoff
from graph.client.records import Claim, read_batch, read_claim, read_shard
from graph.client.state import ClientState, State
from graph.client.subscription import Subscription, subscription
from graph.client.table import LiveTable, Selection, StreamBroken
from graph.client.verification import TableVerification, TableWrong

_log = logging.getLogger("graph.client")

_ANSWER_SECONDS: Final = 15.0

_CLAIMS_SECONDS: Final = 0.2
"""From one request for claims to the next, while some are missing."""

_TICK_SECONDS: Final = 1.0

_SLICE: Final = 200
"""Shards verified in one go: about a millisecond, then other threads have the interpreter."""

_YIELD_SECONDS: Final = 0.01

_FIRST_SLICE: Final = 5_000
"""The same before there is a table to answer from: no lookup is held up."""

_SAVED: Final = object()


@dataclass(frozen=True, slots=True)
class Timeouts:
    """`verify`: seconds from one verification to the next. `silence`: seconds without a message until a server is given
    up. `relist`: up to so many before a table that cannot be followed any further is read anew."""

    verify: float = 60.0
    silence: float = 30.0
    relist: float = 5.0


class Follower:
    """`run` belongs in a thread of its own. `stop` may be called from any."""

    def __init__(
        self,
        servers: Sequence[Address],
        selection: Selection,
        timeouts: Timeouts,
        state: ClientState,
        cache: CacheFile | None,
        *,
        wait: Callable[[float], object] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`wait` takes seconds, and returns early when this is stopped; `jitter` returns from 0 to 1."""
        self._servers = servers
        self._turn = 0
        self._selection = selection
        self._timeouts = timeouts
        self._state = state
        self._cache = cache
        self._stopping = threading.Event()
        self._backoff = Backoff(wait or self._stopping.wait, jitter)
        self._table: LiveTable | None = None
        self._stream: Subscription | None = None
        self._verification: TableVerification | None = None
        self._verification_due = 0.0
        self._claims_due = 0.0
        self._caught_up = False
        self._saving: Generator[None, None, None] | None = None

    def run(self) -> None:
        """Until stopped. A failure of any kind is logged and tried again: an unfollowed table grows old."""
        self._begin()
        while not self._stopping.is_set():
            address = self._servers[self._turn % len(self._servers)]
            try:
                with Requests(address, _ANSWER_SECONDS) as requests:
                    self._maintain(requests, address)
            except TableWrong as wrong:
                self._restart("the table is wrong, reading it anew: %s", wrong, logging.ERROR)
                self._state.count(wrong=1)
                # What is wrong here is right elsewhere: at once the first time, then after a pause like any failure.
                if self._backoff.failures:
                    self._backoff.pause()
                else:
                    self._backoff.failures = 1
            except StreamBroken as broken:
                self._restart("the table is wrong, reading it anew: %s", broken, logging.ERROR)
                self._state.count(wrong=1)
                self._backoff.pause_before_relist(self._timeouts.relist)
            except OperationRefused as refused:
                if refused.code in POSITION_LOST:
                    self._restart("cannot follow any further, reading the table anew: %s", refused, logging.WARNING)
                    self._backoff.pause_before_relist(self._timeouts.relist)
                else:
                    self._refused(address, refused)
            except ClientError as lost:
                self._lost(address, lost)
            except Exception as defect:  # noqa: BLE001 - see above; it is logged with its traceback
                _log.exception("keeping the table met something it should not have; reading it anew")
                self._table = None
                self._lost(address, defect)
        self._abandon_save()
        if self._cache is not None and self._state.table is not None:
            self._cache.write(self._state.table)

    def stop(self) -> None:
        self._stopping.set()
        stream = self._stream
        if stream is not None:
            stream.close()

    def _maintain(self, requests: Requests, address: Address) -> None:
        """From where the table is, until something raises or this is stopped."""
        table = self._table or self._read(requests)
        variables = {"namespace": self._selection.stream_namespace, "after": table.cursor}
        with subscription(address, "FollowShards", variables) as stream:
            self._stream = stream
            try:
                self._follow(table, stream, requests)
            finally:
                self._stream = None
                self._abandon_save()

    def _read(self, requests: Requests) -> LiveTable:
        if self._state.table is not None:
            self._state.enter(State.BEHIND)
        for table in read_table(requests, self._selection):
            self._state.note_newest(table.whole_from)
            if self._stopping.is_set():
                break
        self._table = table
        return table

    def _follow(self, table: LiveTable, stream: Subscription, requests: Requests) -> None:
        self._state.count(connections=1)
        self._verification, self._verification_due, self._caught_up = None, 0.0, False
        received_at, is_answered = time.monotonic(), False
        while not self._stopping.is_set():
            document = stream.next(self._seconds_to_wait())
            if document is not None:
                # The first batch comes at once, if only with the position of the stream.
                received_at, is_answered = time.monotonic(), True
                batch = read_batch(document)
                self._state.note_newest(batch.revision)
                changes = table.apply(batch)
                self._caught_up = batch.caught_up
                if table is self._state.table:
                    self._state.publish_changes(changes)
                    self._enter()
            elif time.monotonic() - received_at > self._timeouts.silence:
                raise ConnectionLost(f"nothing came for {self._timeouts.silence:g} seconds")
            if is_answered and table.whole and self._verify(table, requests):
                self._verified(table)
            self._save_some()

    def _verified(self, table: LiveTable) -> None:
        if table is not self._state.table:
            self._state.count(tables=1)
            self._state.publish(table)
            self._enter()
        if self._cache is not None and self._saving is None:
            self._saving = self._cache.writing(table)

    def _begin(self) -> None:
        """With the table of before, if there is one: the stream goes on from there."""
        self._table = self._cache.read() if self._cache is not None else None
        if self._table is not None:
            self._state.publish(self._table)

    def _save_some(self) -> None:
        """A slice of the table, as it was when it was verified: the stream is followed meanwhile."""
        if self._saving is not None and next(self._saving, _SAVED) is _SAVED:
            self._saving = None

    def _abandon_save(self) -> None:
        if self._saving is not None:
            self._saving.close()
            self._saving = None

    def _enter(self) -> None:
        self._state.enter(State.LIVE if self._caught_up else State.BEHIND)
        if self._caught_up:
            self._backoff.reset()

    def _verify(self, table: LiveTable, requests: Requests) -> bool:
        """A slice, or the next step. True when a verification has just succeeded. Raises TableWrong."""
        now = time.monotonic()
        if self._verification is None:
            if now < self._verification_due:
                return False
            self._verification, self._claims_due = TableVerification(table), now
        if self._verification.needs_claims and now >= self._claims_due:
            self._verification.add_claims(read_claims(requests, self._selection))
            self._claims_due = time.monotonic() + _CLAIMS_SECONDS
        if not self._verification.step(_SLICE if self._state.table else _FIRST_SLICE):
            return False
        self._state.count(proofs=1)
        self._verification, self._verification_due = None, time.monotonic() + self._timeouts.verify
        return True

    def _seconds_to_wait(self) -> float:
        if self._verification is not None:
            if not self._verification.auditing:
                return _CLAIMS_SECONDS
            return _YIELD_SECONDS if self._state.table else 0.0
        if self._saving is not None:
            return _YIELD_SECONDS
        return min(_TICK_SECONDS, max(0.0, self._verification_due - time.monotonic()))

    def _restart(self, message: str, why: Exception, level: int) -> None:
        """The old table answers meanwhile, as one that is BEHIND."""
        _log.log(level, message, why)
        self._table = None
        self._state.problem = str(why)
        if self._state.table is not None:
            self._state.enter(State.BEHIND)

    def _refused(self, address: Address, refused: OperationRefused) -> None:
        """By a server that answers well otherwise: waiting for the first table any longer is of no use."""
        if self._state.table is None and not refused.may_pass:
            self._state.refusal = refused
        self._lost(address, refused)

    def _lost(self, address: Address, why: Exception) -> None:
        if self._stopping.is_set():
            return
        if not self._backoff.failures:
            _log.warning("%s: %s. Trying again; lookups are answered from the last good table", address, why)
        self._state.problem = str(why)
        self._state.losses += 1
        self._state.enter(State.AWAY)
        self._turn += 1
        self._backoff.pause()


def read_table(server: Requests, selection: Selection) -> Iterator[LiveTable]:
    """The table as far as it has been read, after each page. Raises ClientError."""
    table: LiveTable | None = None
    if selection.allow_missing:
        # The stream is followed from before the first list: what is not there by then comes as diffs.
        head = server.execute("StreamHead")["head"]
        table = LiveTable(head["cursor"], int(head["revision"]), selection)
        yield table
    for namespace in selection.lists:
        try:
            for page in pages(server, "ListShards", {"filter": {"namespace": namespace}}):
                revision = int(page["revision"])
                if table is None:
                    table = LiveTable(page["cursor"], revision, selection)
                table.begin_by(page["cursor"], revision)
                table.put(map(read_shard, page["nodes"]), revision)
                yield table
        except OperationRefused as refused:
            if not (selection.allow_missing and refused.code == "NOT_FOUND"):
                raise


def read_claims(server: Requests, selection: Selection) -> list[Claim]:
    """Raises ClientError."""
    claims = map(read_claim, rows(server, "ListNamespaces", {}))
    return [claim for claim in claims if claim.namespace in selection]
