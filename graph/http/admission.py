"""Admission control: how many operations run at once in a process, and which is next when more are waiting.

As in the API server of Kubernetes (priority and fairness): operations are distinguished by what they cost, each kind
has a bound of its own, and the clients that wait share it equally, however many requests each sends.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from graph.auth.principal import Principal
from graph.execution.metrics import Metrics
from graph.execution.workload import Workload
from persistence.errors import Overloaded
from persistence.tasks import Begun

DEFAULT_READS: Final = 6

DEFAULT_PLANS: Final = 2

QUEUE_SECONDS: Final = 10.0

PLANNING_QUEUE_SECONDS: Final = 30.0

UNWATCHED_SECONDS: Final = 0.02
"""How long an operation may run before its client's leaving is noticed."""

_RETRY_AFTER_SECONDS: Final = 1.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bounds:
    """`running` at once, `waiting` for that at most, and none for longer than `seconds`."""

    running: int
    waiting: int
    seconds: float


class AdmissionQueue:
    """The operations of one workload."""

    def __init__(self, workload: Workload, bounds: Bounds, metrics: Metrics) -> None:
        self._bounds = bounds
        self._running: Counter[str] = Counter()
        self._count = 0
        # By client; a client is in it while it waits.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        # When each client, of those that wait or run something, had its last turn.
        self._last_turn: dict[str, int] = {}
        self._turns = 0
        self._abandoned = metrics.operations_abandoned.labels(workload)
        self._overloaded = metrics.operations_overloaded.labels(workload)
        self._waited = metrics.waited.labels(workload)
        metrics.operations_running.labels(workload).set_function(lambda: self._count)
        metrics.operations_waiting.labels(workload).set_function(lambda: self.waiting)

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    def turn(self, client: str) -> "_Turn":
        """Waits until the operation may run, and counts it until it has ended. Raises Overloaded.

        An operation that is cancelled, before or after, counts as abandoned.
        """
        return _Turn(self, client)

    def failed(self, kind: type[BaseException] | None) -> None:
        """Count what ended an operation, before its turn or in it."""
        if kind is None:
            return
        if issubclass(kind, asyncio.CancelledError | ClientDisconnect):
            self._abandoned.inc()
        elif issubclass(kind, Overloaded):
            self._overloaded.inc()

    @property
    def is_free(self) -> bool:
        """Whether an operation need not wait for its turn."""
        return not self._waiting and self._count < self._bounds.running

    async def enter(self, client: str) -> None:
        if self.is_free:
            self._begin(client)
            return
        if self.waiting >= self._bounds.waiting:
            self._make_room(client)
        loop = asyncio.get_running_loop()
        granted: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(client, deque()).append(granted)
        began = perf_counter()
        timer = loop.call_later(self._bounds.seconds, self._expire, granted)
        try:
            await granted
        except BaseException:
            self._withdraw(client, granted)
            raise
        finally:
            timer.cancel()
            self._waited.observe(perf_counter() - began)

    def _expire(self, granted: asyncio.Future[None]) -> None:
        if not granted.done():
            granted.set_exception(_overloaded(f"its turn did not come within {self._bounds.seconds:g} seconds"))

    def _begin(self, client: str) -> None:
        self._count += 1
        self._running[client] += 1
        self._turns += 1
        self._last_turn[client] = self._turns

    def leave(self, client: str) -> None:
        """The operation has ended; those whose turn it is now begin."""
        self._count -= 1
        self._running[client] -= 1
        self._forget(client)
        while self._waiting and self._count < self._bounds.running:
            # Of the clients that run least, the one whose turn was longest ago.
            following = min(self._waiting, key=lambda each: (self._running[each], self._last_turn.get(each, 0)))
            granted = self._waiting[following].popleft()
            if not granted.done():
                self._begin(following)
                granted.set_result(None)
            self._forget(following)

    def _withdraw(self, client: str, granted: asyncio.Future[None]) -> None:
        """The operation will not run. It may have been its turn already, and may have been taken out to make room."""
        if granted.done() and not granted.cancelled() and granted.exception() is None:
            self.leave(client)
            return
        with suppress(KeyError, ValueError):
            self._waiting[client].remove(granted)
        self._forget(client)

    def _make_room(self, client: str) -> None:
        """At the cost of the client that has most waiting. Raises Overloaded where that is this one, or has as many."""
        longest = max(self._waiting, key=lambda each: len(self._waiting[each]))
        refusal = _overloaded(f"{self.waiting:,} operations wait already")
        if len(self._waiting[longest]) <= len(self._waiting.get(client, ())) + 1:
            raise refusal
        newest = self._waiting[longest].pop()
        self._forget(longest)
        if not newest.done():
            newest.set_exception(refusal)

    def _forget(self, client: str) -> None:
        """Hold nothing of a client that neither waits nor runs anything."""
        if client in self._waiting and not self._waiting[client]:
            del self._waiting[client]
        if not self._running[client]:
            del self._running[client]
            if client not in self._waiting:
                self._last_turn.pop(client, None)


class _Turn:
    """Of one operation."""

    __slots__ = ("_client", "_queue")

    def __init__(self, queue: AdmissionQueue, client: str) -> None:
        self._queue = queue
        self._client = client

    async def __aenter__(self) -> None:
        try:
            await self._queue.enter(self._client)
        except BaseException as error:
            self._queue.failed(type(error))
            raise

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._queue.leave(self._client)
        self._queue.failed(kind)


class AdmissionControl:
    """The queues of one application. Subscriptions are bounded by their sockets, and in none of them."""

    def __init__(self, metrics: Metrics, reads: int = DEFAULT_READS, plans: int = DEFAULT_PLANS) -> None:
        """`reads` at once that are no lookups, half of them of history: fewer than there are connections for reading,
        so that lookups which are not answered from memory, and probes, find one. `plans` is the number of processes
        that plan."""
        history = max(1, reads // 2)
        bounds = {
            # Answered without waiting for anything, or by PostgreSQL where memory has not what is looked up.
            Workload.LOOKUP: Bounds(256, 1_024, QUEUE_SECONDS),
            # `atLeast` waits for two seconds, and no lookup without it waits behind that.
            Workload.CATCH_UP: Bounds(256, 1_024, QUEUE_SECONDS),
            Workload.QUERY: Bounds(max(1, reads - history), 256, QUEUE_SECONDS),
            Workload.HISTORY: Bounds(history, 256, QUEUE_SECONDS),
            # Each may hold a process for seconds, and the one that applies a plan must not be refused for those that
            # look at what would be.
            Workload.PLANNING: Bounds(max(1, plans), 64, PLANNING_QUEUE_SECONDS),
            # Commits are serial, and many share one: more of them at once are not more in the way of each other.
            Workload.MUTATION: Bounds(256, 1_024, QUEUE_SECONDS),
        }
        self._queues = {workload: AdmissionQueue(workload, each, metrics) for workload, each in bounds.items()}

    def queue(self, workload: Workload) -> AdmissionQueue:
        return self._queues[workload]

    async def run(
        self,
        workload: Workload,
        principal: Principal,
        scope: Scope,
        receive: Receive,
        work: Coroutine[Any, Any, T],
        *,
        is_finished: bool,
    ) -> T:
        """What `work` returns, in its turn, for a request that has been read. Raises Overloaded.

        When the client hangs up it is cancelled, and raises ClientDisconnect; but what `is_finished`, as mutations are,
        is finished once it has begun. A lookup for which there is room mostly ends before it waits for anything: it
        takes no turn, and is not watched.
        """
        queue = self._queues[workload]
        if workload.is_lookup and queue.is_free:
            begun = Begun(work)
            if begun.has_ended:
                return begun.result
            work = begun.rest()
        watch = _Watch(receive)
        try:
            async with queue.turn(client_of(principal, scope)):
                if is_finished:
                    watch.end()
                return await work
        except asyncio.CancelledError:
            if watch.cancelled():
                raise ClientDisconnect from None
            raise
        finally:
            watch.end()
            work.close()


def client_of(principal: Principal, scope: Scope) -> str:
    """With whom turns are shared: the subjects of tokens, and the addresses of callers without one."""
    if principal.subject is not None:
        return f"subject {principal.subject}"
    address = scope.get("client")
    return f"address {address[0] if address else 'unknown'}"


class _Watch:
    """Cancels the current task when the client of a request that has been read hangs up.

    A client that has stopped sending while it still receives counts as gone: HTTP/1.1 does not distinguish the two.
    """

    __slots__ = ("_gone", "_receive", "_task", "_timer", "_watcher")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task = asyncio.current_task()
        self._gone = False
        self._watcher: asyncio.Task[None] | None = None
        # A task of its own costs more than most operations wait.
        self._timer = asyncio.get_running_loop().call_later(UNWATCHED_SECONDS, self._begin)

    def end(self) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            # Not awaited: a cancellation that arrived then would replace the result. It ends at once, and is not held:
            # its error leads back here, and so to all of the request.
            self._watcher.cancel()
            self._watcher = None

    def cancelled(self) -> bool:
        """Whether the cancellation that the task has met is this one's alone: another one has to be seen."""
        return self._gone and self._task is not None and not self._task.uncancel()

    def _begin(self) -> None:
        self._watcher = asyncio.create_task(self._watch(), name="omnirelay-disconnect")

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._task is not None:
            self._task.cancel()


def _overloaded(why: str) -> Overloaded:
    return Overloaded(
        f"The server has more to do than it can: {why}. Nothing was written. Try again shortly.", _RETRY_AFTER_SECONDS
    )
