"""The thread that keeps a table: reads it, follows the stream, proves it right, and begins again when it has to.

What a client reads by asking: the table, page by page, and what the server says of each namespace.
"""

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

_ASK_AGAIN_SECONDS: Final = 0.2

_TICK_SECONDS: Final = 1.0

_SLICE: Final = 200
"""Shards proven in one go: about a millisecond, then whoever else wants the interpreter has it."""

_BREATH_SECONDS: Final = 0.01

_FIRST_SLICE: Final = 5_000
"""The same while nothing is answered yet, so that nobody is in the way."""

_SAVED: Final = object()


@dataclass(frozen=True, slots=True)
class Timeouts:
    """`verify`: seconds from one proof to the next. `silence`: seconds without a message until a server is given up.
    `relist`: up to so many before a table that cannot be followed any further is read anew."""

    verify: float = 60.0
    silence: float = 30.0
    relist: float = 5.0


class Follower:
    """`run` belongs in a thread of its own. `stop` may be called from any."""

    def __init__(
        self,
        servers: Sequence[Address],
        selection: Selection,
        patience: Timeouts,
        board: ClientState,
        cache: CacheFile | None,
        *,
        wait: Callable[[float], object] | None = None,
        spread: Callable[[], float] = random.random,
    ) -> None:
        """`wait` takes seconds, and returns early when this is stopped; `spread` gives from 0 to 1."""
        self._servers = servers
        self._turn = 0
        self._selection = selection
        self._patience = patience
        self._board = board
        self._cache = cache
        self._stopping = threading.Event()
        self._backoff = Backoff(wait or self._stopping.wait, spread)
        self._table: LiveTable | None = None
        self._stream: Subscription | None = None
        self._proof: TableVerification | None = None
        self._proof_due = 0.0
        self._ask_at = 0.0
        self._caught_up = False
        self._saving: Generator[None, None, None] | None = None

    def run(self) -> None:
        """Until stopped. Whatever fails is logged and tried again: a table that nobody keeps goes wrong in silence."""
        self._begin()
        while not self._stopping.is_set():
            address = self._servers[self._turn % len(self._servers)]
            try:
                with Requests(address, _ANSWER_SECONDS) as requests:
                    self._keep(requests, address)
            except TableWrong as wrong:
                self._begin_again("the table is wrong, reading it anew: %s", wrong, logging.ERROR)
                self._board.count(wrong=1)
                # What is wrong here is right elsewhere: at once the first time, then after a pause like any failure.
                if self._backoff.failures:
                    self._backoff.pause()
                else:
                    self._backoff.failures = 1
            except StreamBroken as broken:
                self._begin_again("the table is wrong, reading it anew: %s", broken, logging.ERROR)
                self._board.count(wrong=1)
                self._backoff.pause_before_relist(self._patience.relist)
            except OperationRefused as refused:
                if refused.code in POSITION_LOST:
                    self._begin_again("cannot follow any further, reading the table anew: %s", refused, logging.WARNING)
                    self._backoff.pause_before_relist(self._patience.relist)
                else:
                    self._refused(address, refused)
            except ClientError as lost:
                self._lost(address, lost)
            except Exception as defect:  # noqa: BLE001 - see above; it is logged with its traceback
                _log.exception("keeping the table met something it should not have; reading it anew")
                self._table = None
                self._lost(address, defect)
        self._abandon_saving()
        if self._cache is not None and self._board.table is not None:
            self._cache.write(self._board.table)

    def stop(self) -> None:
        self._stopping.set()
        stream = self._stream
        if stream is not None:
            stream.close()

    def _keep(self, requests: Requests, address: Address) -> None:
        """From wherever the table is, until something raises or this is stopped."""
        table = self._table or self._read(requests)
        variables = {"namespace": self._selection.asked_for, "after": table.cursor}
        with subscription(address, "FollowShards", variables) as stream:
            self._stream = stream
            try:
                self._follow(table, stream, requests)
            finally:
                self._stream = None
                self._abandon_saving()

    def _read(self, requests: Requests) -> LiveTable:
        if self._board.table is not None:
            self._board.note(State.BEHIND)
        for table in read_table(requests, self._selection):
            self._board.heard_of(table.whole_from)
            if self._stopping.is_set():
                break
        self._table = table
        return table

    def _follow(self, table: LiveTable, stream: Subscription, requests: Requests) -> None:
        self._board.count(connections=1)
        self._proof, self._proof_due, self._caught_up = None, 0.0, False
        heard, answered = time.monotonic(), False
        while not self._stopping.is_set():
            document = stream.next(self._seconds_to_wait())
            if document is not None:
                # The first batch comes at once, if only to say where the stream is.
                heard, answered = time.monotonic(), True
                batch = read_batch(document)
                self._board.heard_of(batch.revision)
                changes = table.apply(batch)
                self._caught_up = batch.caught_up
                if table is self._board.table:
                    self._board.changed(changes)
                    self._note()
            elif time.monotonic() - heard > self._patience.silence:
                raise ConnectionLost(f"nothing came for {self._patience.silence:g} seconds")
            if answered and table.whole and self._prove(table, requests):
                self._proven(table)
            self._save_some()

    def _proven(self, table: LiveTable) -> None:
        if table is not self._board.table:
            self._board.count(tables=1)
            self._board.show(table)
            self._note()
        if self._cache is not None and self._saving is None:
            self._saving = self._cache.writing(table)

    def _begin(self) -> None:
        """With the table of before, if there is one: the stream goes on from there."""
        self._table = self._cache.read() if self._cache is not None else None
        if self._table is not None:
            self._board.show(self._table)

    def _save_some(self) -> None:
        """A slice of the table, as it was when it was proven: the stream is followed meanwhile."""
        if self._saving is not None and next(self._saving, _SAVED) is _SAVED:
            self._saving = None

    def _abandon_saving(self) -> None:
        if self._saving is not None:
            self._saving.close()
            self._saving = None

    def _note(self) -> None:
        self._board.note(State.LIVE if self._caught_up else State.BEHIND)
        if self._caught_up:
            self._backoff.reset()

    def _prove(self, table: LiveTable, requests: Requests) -> bool:
        """Do some of what is to be done. True when a proof has just succeeded. Raises TableWrong."""
        now = time.monotonic()
        if self._proof is None:
            if now < self._proof_due:
                return False
            self._proof, self._ask_at = TableVerification(table), now
        if self._proof.wants_claims and now >= self._ask_at:
            self._proof.hear(read_claims(requests, self._selection))
            self._ask_at = time.monotonic() + _ASK_AGAIN_SECONDS
        if not self._proof.step(_SLICE if self._board.table else _FIRST_SLICE):
            return False
        self._board.count(proofs=1)
        self._proof, self._proof_due = None, time.monotonic() + self._patience.verify
        return True

    def _seconds_to_wait(self) -> float:
        if self._proof is not None:
            if not self._proof.auditing:
                return _ASK_AGAIN_SECONDS
            return _BREATH_SECONDS if self._board.table else 0.0
        if self._saving is not None:
            return _BREATH_SECONDS
        return min(_TICK_SECONDS, max(0.0, self._proof_due - time.monotonic()))

    def _begin_again(self, message: str, why: Exception, level: int) -> None:
        """The old table answers meanwhile, but not as a good one."""
        _log.log(level, message, why)
        self._table = None
        self._board.problem = str(why)
        if self._board.table is not None:
            self._board.note(State.BEHIND)

    def _refused(self, address: Address, refused: OperationRefused) -> None:
        """By a server that answers well otherwise: whoever waits for the first table need not wait any longer."""
        if self._board.table is None and not refused.may_pass:
            self._board.refusal = refused
        self._lost(address, refused)

    def _lost(self, address: Address, why: Exception) -> None:
        if self._stopping.is_set():
            return
        if not self._backoff.failures:
            _log.warning("%s: %s. Trying again; lookups are answered from the last good table", address, why)
        self._board.problem = str(why)
        self._board.losses += 1
        self._board.note(State.AWAY)
        self._turn += 1
        self._backoff.pause()


def read_table(server: Requests, selection: Selection) -> Iterator[LiveTable]:
    """The table as far as it has been read, after each page. Raises ClientError."""
    table: LiveTable | None = None
    for namespace in selection.lists:
        for page in pages(server, "ListShards", {"filter": {"namespace": namespace}}):
            revision = int(page["revision"])
            if table is None:
                table = LiveTable(page["cursor"], revision, selection)
            table.begin_by(page["cursor"], revision)
            table.put(map(read_shard, page["nodes"]), revision)
            yield table


def read_claims(server: Requests, selection: Selection) -> list[Claim]:
    """Raises ClientError."""
    claims = map(read_claim, rows(server, "ListNamespaces", {}))
    return [claim for claim in claims if claim.namespace in selection]
