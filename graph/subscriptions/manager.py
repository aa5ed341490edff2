"""All subscriptions of one application, over WebSockets and event streams, and their end when the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from weakref import WeakValueDictionary

from graphql import OperationType

from graph.execution.context import Context
from graph.execution.metrics import Metrics
from graph.schema.build import MeshSchema
from graph.subscriptions.groups import DirectWrite, Send, Subscriber, SubscriberGroups
from graph.subscriptions.operation import Refused, SharingKey, SubscriptionOperation, open_operation
from persistence.tracing import NO_TRACING, Tracer


class SubscriptionManager:
    def __init__(self, schema: MeshSchema, metrics: Metrics, tracer: Tracer = NO_TRACING) -> None:
        self._schema = schema
        self._metrics = metrics
        self._groups = SubscriberGroups(metrics, tracer)
        self._draining = asyncio.Event()
        self._operations: WeakValueDictionary[SharingKey, SubscriptionOperation] = WeakValueDictionary()
        """One of each key: the first that is open."""

    async def open(
        self, query: str, variables: Mapping[str, Any] | None, operation_name: str | None, context: Context
    ) -> SubscriptionOperation | Refused | None:
        """As `open_operation`; a refusal is counted."""
        opened = await open_operation(self._schema, query, variables, operation_name, context)
        if isinstance(opened, Refused):
            self._metrics.ended(OperationType.SUBSCRIPTION.value, "errors", 0.0)
        if isinstance(opened, SubscriptionOperation):
            # A thousand idle sockets would hold a thousand executors, and the text of the document as often.
            first = self._operations.setdefault(opened.key, opened)
            return opened if first is opened else opened.executed_as(first)
        return opened

    async def run(
        self,
        operation: SubscriptionOperation,
        send: Send,
        *,
        send_timeout: float | None = None,
        direct: DirectWrite | None = None,
    ) -> None:
        """Send batches until cancelled. Raises as `Subscriber.run`."""
        with self._metrics.subscription():
            await Subscriber(self._groups, operation, send, send_timeout, direct).run()

    def drain(self) -> None:
        """The server is stopping: streams end that have no close of their own, so that their clients connect to another
        process."""
        self._draining.set()

    async def drained(self) -> None:
        """Until the server is stopping."""
        await self._draining.wait()
