"""Admission control: how many operations run at once in a process, and which is next when more are waiting.

As in the API server of Kubernetes (priority and fairness): operations are distinguished by what they cost, each kind
has a bound of its own, and the clients that wait share it equally, however many requests each sends.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from graphql import ArgumentNode, FieldNode, NullValueNode, OperationDefinitionNode, OperationType, VariableNode
from starlette.requests import ClientDisconnect, HTTPConnection, Request

from graph.auth.principal import Principal
from graph.execution.metrics import Metrics
from persistence.errors import Overloaded

DEFAULT_QUERIES: Final = 6

QUEUE_SECONDS: Final = 10.0

_RETRY_AFTER_SECONDS: Final = 1.0


class Workload(StrEnum):
    """What an operation costs: a turn of the event loop, a connection for a while, or a commit."""

    LOOKUP = "lookup"
    QUERY = "query"
    MUTATION = "mutation"


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
        # By client; a client is in it while it waits.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        # When each client, of those that wait or run something, had its last turn.
        self._last_turn: dict[str, int] = {}
        self._turns = 0
        self._abandoned = metrics.operations_abandoned.labels(workload)
        self._overloaded = metrics.operations_overloaded.labels(workload)
        metrics.operations_running.labels(workload).set_function(self._running.total)
        metrics.operations_waiting.labels(workload).set_function(lambda: self.waiting)

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """Waits until the operation may run, and counts it until it has ended. Raises Overloaded.

        An operation that is cancelled, before or after, counts as abandoned.
        """
        try:
            await self._enter(client)
            try:
                yield
            finally:
                self._leave(client)
        except (asyncio.CancelledError, ClientDisconnect):
            self._abandoned.inc()
            raise
        except Overloaded:
            self._overloaded.inc()
            raise

    async def _enter(self, client: str) -> None:
        if not self._waiting and self._running.total() < self._bounds.running:
            self._begin(client)
            return
        if self.waiting >= self._bounds.waiting:
            self._make_room(client)
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(granted)
        try:
            async with asyncio.timeout(self._bounds.seconds):
                await granted
        except TimeoutError:
            self._withdraw(client, granted)
            raise _overloaded(f"its turn did not come within {self._bounds.seconds:g} seconds") from None
        except BaseException:
            self._withdraw(client, granted)
            raise

    def _begin(self, client: str) -> None:
        self._running[client] += 1
        self._turns += 1
        self._last_turn[client] = self._turns

    def _leave(self, client: str) -> None:
        self._running[client] -= 1
        self._forget(client)
        while self._waiting and self._running.total() < self._bounds.running:
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
            self._leave(client)
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


class AdmissionControl:
    """The queues of one application. Subscriptions are bounded by their sockets, and in none of them."""

    def __init__(self, metrics: Metrics, queries: int = DEFAULT_QUERIES) -> None:
        """`queries` at once that are no lookups: fewer than there are connections for reading, so that lookups which
        are not answered from memory, and probes, find one."""
        bounds = {
            # Answered without waiting for anything; what may hold one up is `atLeast`, for two seconds.
            Workload.LOOKUP: Bounds(256, 1_024, QUEUE_SECONDS),
            Workload.QUERY: Bounds(queries, 256, QUEUE_SECONDS),
            # Commits are serial, and many share one: more of them at once are not more in the way of each other.
            Workload.MUTATION: Bounds(256, 1_024, QUEUE_SECONDS),
        }
        self._queues = {workload: AdmissionQueue(workload, each, metrics) for workload, each in bounds.items()}

    def turn(
        self,
        connection: HTTPConnection,
        principal: Principal,
        operation: OperationDefinitionNode | None,
        variables: Mapping[str, Any] | None,
    ) -> AbstractAsyncContextManager[None]:
        """The turn of an operation, as `AdmissionQueue.turn`. One that cannot be executed is answered like a lookup.

        Turns are shared among the subjects of tokens, and the addresses of callers without one.
        """
        if principal.subject is not None:
            client = f"subject {principal.subject}"
        else:
            client = f"address {connection.client.host if connection.client else 'unknown'}"
        return self._queues[workload_of(operation, variables or {})].turn(client)

    @asynccontextmanager
    async def turn_while_connected(
        self,
        request: Request,
        principal: Principal,
        operation: OperationDefinitionNode | None,
        variables: Mapping[str, Any] | None,
    ) -> AsyncIterator[None]:
        """As `turn`, of an operation whose request has been read. When the client hangs up it is cancelled, and raises
        ClientDisconnect, but for a mutation that has begun: that is finished."""
        async with AsyncExitStack() as stack:
            async with _while_connected(request):
                await stack.enter_async_context(self.turn(request, principal, operation, variables))
                if operation is None or operation.operation is not OperationType.MUTATION:
                    yield
                    return
            yield


@asynccontextmanager
async def _while_connected(request: Request) -> AsyncIterator[None]:
    """Cancels what runs inside when the client hangs up, and raises ClientDisconnect then. For a request whose body was
    read.

    A client that has stopped sending while it still receives counts as gone: HTTP/1.1 does not distinguish the two.
    """
    task = asyncio.current_task()
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        if task is not None:
            task.cancel()

    watcher = asyncio.create_task(watch(), name="omnirelay-disconnect")
    try:
        yield
    except asyncio.CancelledError:
        # Cancelled by another task as well, which then has to see it.
        if task is None or not gone or task.uncancel():
            raise
        raise ClientDisconnect from None
    finally:
        # Not awaited: a cancellation that arrived then would replace the result of what ran inside. It ends at once.
        watcher.cancel()


def workload_of(operation: OperationDefinitionNode | None, variables: Mapping[str, Any]) -> Workload:
    """A lookup selects nothing but shards as they are now, which are answered from memory, and by their own names."""
    if operation is None or operation.operation is OperationType.SUBSCRIPTION:
        return Workload.LOOKUP
    if operation.operation is OperationType.MUTATION:
        return Workload.MUTATION
    simple = all(
        isinstance(selection, FieldNode)
        and selection.name.value in _FROM_MEMORY
        and not any(_names_position(argument, variables) for argument in selection.arguments or ())
        for selection in operation.selection_set.selections
    )
    return Workload.LOOKUP if simple else Workload.QUERY


_FROM_MEMORY: Final = frozenset({"shard", "shards", "__typename"})


def _names_position(argument: ArgumentNode, variables: Mapping[str, Any]) -> bool:
    if argument.name.value != "asOf" or isinstance(argument.value, NullValueNode):
        return False
    value = argument.value
    return not isinstance(value, VariableNode) or variables.get(value.name.value) is not None


def _overloaded(why: str) -> Overloaded:
    return Overloaded(
        f"The server has more to do than it can: {why}. Nothing was written. Try again shortly.", _RETRY_AFTER_SECONDS
    )
