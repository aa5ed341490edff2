"""graphql-transport-ws on Strawberry's handler, made to survive whatever a client sends.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md. A message that is none of the protocol closes the
socket with 4400; what only is a bad operation ends that operation with `error`, and the socket stays open. The codes
are in `graph/close_codes.py`; some are sent by Strawberry's handler, some by `graph/server/websocket_protocol.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from time import perf_counter
from typing import Any, Final, Protocol

from graphql import GraphQLError, OperationDefinitionNode, OperationType, get_operation_ast
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler, Operation
from strawberry.subscriptions.protocols.graphql_transport_ws.types import (
    ConnectionInitMessage,
    Message,
    SubscribeMessage,
)
from strawberry.types import ExecutionResult

from graph.auth.principal import Principal, Unauthenticated
from graph.auth.tokens import EXPIRED, wait_until_expired
from graph.close_codes import CloseCode
from graph.execution.budgets import Charge, CostControl, CostExceeded, requests_cost
from graph.execution.context import Context
from graph.execution.documents import Document
from graph.execution.encoding import encode_json
from graph.execution.errors import Code, coded
from graph.execution.metrics import Metrics
from graph.execution.outcomes import OperationRecord, begin_record, end_record, trace_id_of
from graph.execution.services import Services
from graph.http.admission import AdmissionControl, client_of
from graph.http.bodies import Bodies
from graph.http.request_log import RequestLog, traceparent_of
from graph.http.requests import BadRequest
from graph.http.socket_adapter import SocketAdapter
from graph.http.trusted_documents import TrustedDocuments
from graph.schema.build import MeshSchema
from graph.subscriptions import groups
from graph.subscriptions.manager import SubscriptionManager
from graph.subscriptions.operation import Refused, SubscriptionOperation
from persistence.errors import Overloaded

MAX_OPERATIONS: Final = 100

_log = logging.getLogger(__name__)


class Endpoint(Protocol):
    """What a socket uses of the endpoint that has accepted it, which is Strawberry's view and passed by it as such."""

    schema: MeshSchema
    admission: AdmissionControl
    costs: CostControl
    bodies: Bodies
    trusted_documents: TrustedDocuments
    subscriptions: SubscriptionManager
    services: Services
    metrics: Metrics
    requests: RequestLog

    def caller(self, authorization: object, request_id: str) -> Principal:
        """The principal of this authorization. Raises Unauthenticated."""
        ...


class TransportHandler(BaseGraphQLTransportWSHandler[Context, None]):
    """One socket. Subscriptions to the stream are delivered by the subscription manager, the rest is Strawberry's.

    Its caller is that of the token in `connection_init`; when that expires, the socket is closed. At most 100
    operations run on it at a time; Strawberry's own limit answers without a code.
    """

    websocket: SocketAdapter
    _expiry: asyncio.Task[None] | None = None

    def __init__(self, view: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(view, *args, **kwargs)
        self._endpoint: Endpoint = view
        self._begun: set[Operation[Context, None]] = set()
        self._showing_cost: set[str] = set()
        """Ids of operations that have not begun, and whose answers are to hold what they cost."""
        self._charges: dict[Operation[Context, None], Charge] = {}

    async def handle_message(self, message: Message) -> None:
        problem = _problem(message)
        if problem is not None:
            await self.handle_invalid_message(problem)
        elif self.websocket.message_size > self._endpoint.bodies.most and message["type"] != "subscribe":
            await self.websocket.close_too_big()
        else:
            await super().handle_message(message)

    async def handle_connection_init(self, message: ConnectionInitMessage) -> None:
        # A payload of null is no payload; Strawberry would close the socket over it.
        payload = message.get("payload") or {}
        if not self.connection_init_received:  # a second one closes the socket
            try:
                principal = self._endpoint.caller(_authorization(payload), self.context.request_id)
            except Unauthenticated as refused:
                await self._refuse(refused)
                return
            self.context = self.context._replace(principal=principal)
            self.websocket.admit(self._endpoint.bodies.most_of(principal))
            if principal.expires_at is not None:
                self._expiry = asyncio.create_task(self._close_when_expired(principal))
        await super().handle_connection_init({"type": "connection_init", "payload": payload})

    async def shutdown(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            with suppress(asyncio.CancelledError):
                await self._expiry
        await super().shutdown()
        for task in [operation.task for operation in self._begun if operation.task]:
            with suppress(Exception):
                await task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        super()._task_done(task)
        if task is self.connection_init_timeout_task:
            self.connection_init_timeout_task = None

    async def _close_when_expired(self, principal: Principal) -> None:
        await wait_until_expired(principal)
        with suppress(WebSocketDisconnected):
            await self._refuse(Unauthenticated(EXPIRED, may_pass=True))

    async def _refuse(self, refused: Unauthenticated) -> None:
        code, word = (
            (CloseCode.TOKEN_OUTDATED, "Forbidden") if refused.may_pass else (CloseCode.UNAUTHORIZED, "Unauthorized")
        )
        await self.websocket.close(code, f"{word}: {refused}")

    async def cleanup_operation(self, operation_id: str) -> None:
        """The client has completed it, or left. A mutation that has begun is finished, and nothing of it is sent."""
        operation = self.operations.get(operation_id)
        self._showing_cost.discard(operation_id)
        if operation is not None and operation in self._begun:
            operation.completed = True
            del self.operations[operation_id]
            return
        await super().cleanup_operation(operation_id)

    async def handle_subscribe(self, message: SubscribeMessage) -> None:
        running, payload = len(self.operations), message["payload"]
        if not self.connection_acknowledged or message["id"] in self.operations:
            await super().handle_subscribe(message)  # closes the socket
            return
        if running >= MAX_OPERATIONS:
            error = coded(GraphQLError(f"{running} operations run on this socket already."), Code.TOO_MANY_OPERATIONS)
        else:
            try:
                await self._endpoint.trusted_documents.read(payload, self.context.principal)
                text = self._endpoint.trusted_documents.text_of(payload, self.context.principal)
                if (size := self.websocket.message_size) > self._endpoint.bodies.most:
                    definition = self._endpoint.schema.documents.operation(text, payload.get("operationName"))
                    self._endpoint.bodies.check(size, definition)
            except BadRequest as bad:
                error = coded(GraphQLError(bad.message), bad.code)
            except Overloaded as overloaded:
                error = _overloaded(overloaded)
            else:
                if requests_cost(payload.get("extensions")):
                    self._showing_cost.add(message["id"])
                await super().handle_subscribe({**message, "payload": {**payload, "query": text}})
                return
        self._endpoint.metrics.errors.labels(error.extensions["code"]).inc()  # type: ignore[index]  # it is coded
        await self.send_message({"id": message["id"], "type": "error", "payload": [error.formatted]})

    async def run_operation(self, operation: Operation[Context, None]) -> None:
        began, traceparent = perf_counter(), traceparent_of(self.websocket.ws.scope)
        record = begin_record(self._endpoint.metrics, trace_id_of(traceparent))
        try:
            try:
                document, taken = await self._charge(operation, record)
                opened = None if document is None else await self._open(operation)
                if document is None or opened is not None:
                    self._log(operation, record, began)
                if isinstance(opened, SubscriptionOperation):
                    del document, record, traceparent
                    end_record()
                    await self._follow(operation, opened)
                    return
                if document is None or opened is not None:
                    return
            except Exception as error:
                await self.handle_task_exception(error)
                raise
            tracer = self._endpoint.services.tracer
            parent = None if traceparent is None else tracer.from_header(traceparent)
            with tracer.span("operation", parent or tracer.root, transport="websocket"):
                definition = get_operation_ast(document.node, operation.operation_name)
                await self._run_in_turn(operation, record, definition, taken)
                self._log(operation, record, began)
        finally:
            self._charges.pop(operation, None)

    async def _open(self, operation: Operation[Context, None]) -> SubscriptionOperation | Refused | None:
        """The subscription that it is, or why there is none, which it is answered with; null if it is none."""
        opened = await self._endpoint.subscriptions.open(
            operation.query, operation.variables, operation.operation_name, self.context
        )
        if opened is not None:
            self._charges.pop(operation, None)
        if isinstance(opened, SubscriptionOperation):
            operation.query = opened.key.query
        elif isinstance(opened, Refused):
            await operation.send_initial_errors(opened.errors)
        return opened

    async def _charge(
        self, operation: Operation[Context, None], record: OperationRecord
    ) -> tuple[Document | None, int]:
        """Its document, once what it costs was taken from its caller's budget, and how much that was; null if it was
        answered with why not."""
        client = client_of(self.context.principal, self.websocket.ws.scope)
        shows_cost = operation.id in self._showing_cost
        self._showing_cost.discard(operation.id)
        try:
            document, charge = await self._endpoint.costs.admit(
                operation.query, operation.operation_name, operation.variables, self.context.principal, client
            )
        except CostExceeded as exceeded:
            refusal = coded(GraphQLError(str(exceeded)), exceeded.code, **exceeded.extensions)
        except Overloaded as overloaded:
            refusal = _overloaded(overloaded)
        else:
            if document.failure is None or not operation.query:  # which has a code of its own
                record.cost = None if charge is None else charge.requested
                if charge is not None and shows_cost:
                    self._charges[operation] = charge
                return document, 0 if charge is None else charge.taken
            self._endpoint.schema.unreadable()
            refusal = document.failure
        self._count(refusal, record)
        await operation.send_initial_errors([refusal])
        return None, 0

    def _count(self, refusal: GraphQLError, record: OperationRecord) -> None:
        code = (refusal.extensions or {})["code"]
        record.failed(code)
        self._endpoint.metrics.errors.labels(code).inc()

    def _log(self, operation: Operation[Context, None], record: OperationRecord, began: float) -> None:
        requests, seconds = self._endpoint.requests, perf_counter() - began
        if record.outcome == "ok" and seconds < requests.slow_seconds and not requests.has_each:
            return
        definition = self._endpoint.schema.documents.operation(operation.query, operation.operation_name)
        scope, context = self.websocket.ws.scope, self.context
        requests.ended("websocket", definition, record, seconds, scope, context.request_id, context.principal)

    async def _send_result_stream(self, operation: Operation[Context, None], result_source: Any) -> None:
        charge = self._charges.get(operation)
        results = result_source if charge is None else _with_cost(result_source, charge)
        await super()._send_result_stream(operation, results)

    async def _run_in_turn(
        self,
        operation: Operation[Context, None],
        record: OperationRecord,
        definition: OperationDefinitionNode | None,
        taken: int,
    ) -> None:
        documents = self._endpoint.schema.documents
        workload = documents.workload(operation.query, operation.operation_name, operation.variables)
        client = client_of(self.context.principal, self.websocket.ws.scope)
        turn = self._endpoint.admission.queue(workload).turn(client)
        try:
            async with turn:
                if definition is not None and definition.operation is OperationType.MUTATION:
                    self._begun.add(operation)
                await super().run_operation(operation)
        except Overloaded as overloaded:
            self._endpoint.costs.refund(client, taken)
            refusal = _overloaded(overloaded)
            self._count(refusal, record)
            await operation.send_initial_errors([refusal])
        finally:
            self._begun.discard(operation)

    async def _follow(self, operation: Operation[Context, None], opened: SubscriptionOperation) -> None:
        head = b'{"id":%b,"type":"next","payload":' % encode_json(operation.id)
        frames = self.websocket.frames
        direct = None if frames is None else groups.DirectWrite(head, next_frame, frames.write_frame)

        async def send(message: groups.Message) -> None:
            await self.websocket.send_text(_next(head, message.payload).decode())

        try:
            await self._endpoint.subscriptions.run(opened, send, direct=direct)
        except WebSocketDisconnected:
            return  # the socket's own task does the rest
        except Exception as error:  # noqa: BLE001 - published: refusals as they are, defects logged and masked
            with suppress(WebSocketDisconnected):
                await self.websocket.send_text(_next(head, opened.failure(error).encode()).decode())
                await operation.send_operation_message({"id": operation.id, "type": "complete"})

    async def handle_task_exception(self, error: Exception) -> None:
        # A client that left in the middle of an answer is no defect.
        if not isinstance(error, WebSocketDisconnected):
            _log.error("request %s failed", self.context.request_id, exc_info=error)

    @staticmethod
    def _get_pre_execution_close_reason(error: GraphQLError) -> str | None:  # noqa: ARG004
        """Strawberry closes the socket over a syntax error. The protocol has `error` for that."""
        return None


async def _with_cost(results: AsyncIterator[Any], charge: Charge) -> AsyncGenerator[Any, None]:
    """The results of an operation, with what it cost."""
    async for result in results:
        if isinstance(result, ExecutionResult):
            charge.attach(result, requested=True)
        yield result


def _overloaded(error: Overloaded) -> GraphQLError:
    return coded(GraphQLError(str(error)), error.code, retryAfter=error.retry_after)


def _next(head: bytes, payload: bytes) -> bytes:
    return b"%b%b}" % (head, payload)


def next_frame(head: bytes, payload: bytes) -> bytes:
    """The text of `_next` as a message of one frame, unmasked as a server's are.

    https://www.rfc-editor.org/rfc/rfc6455#section-5.2
    """
    size = len(head) + len(payload) + 1
    if size < 126:  # noqa: PLR2004 - lengths that the second byte has no room for
        return b"\x81%c%b%b}" % (size, head, payload)
    if size < 1 << 16:
        return b"\x81\x7e%b%b%b}" % (size.to_bytes(2), head, payload)
    return b"\x81\x7f%b%b%b}" % (size.to_bytes(8), head, payload)


def _authorization(payload: Mapping[str, object]) -> object:
    """What would be the header of that name: a browser cannot send headers with a socket."""
    return payload.get("authorization", payload.get("Authorization"))


def _problem(message: Any) -> str | None:
    """Why this is no message of the protocol, or none."""
    if not isinstance(message, dict):
        return "A message must be a JSON object"
    kind = message.get("type")
    if not isinstance(kind, str):
        return "A message must have a type"
    if kind in ("connection_init", "ping", "pong"):
        return None if isinstance(message.get("payload"), dict | None) else "The payload must be an object"
    if kind not in ("subscribe", "complete"):
        return f"Unknown message type: {kind}"
    if not isinstance(message.get("id"), str) or not message["id"]:
        return "The message must have an id"
    return _operation_problem(message.get("payload")) if kind == "subscribe" else None


def _operation_problem(payload: Any) -> str | None:
    if not isinstance(payload, dict):
        return "The payload must be an object"
    extensions = payload.get("extensions")
    if not isinstance(extensions, dict | None):
        return "extensions must be an object or null"
    names_document = payload.get("documentId") is not None or (extensions or {}).get("persistedQuery") is not None
    if not isinstance(payload.get("query"), str | None if names_document else str):
        return "The payload must have a query"
    if not isinstance(payload.get("operationName"), str | None):
        return "operationName must be a string or null"
    if not isinstance(payload.get("variables"), dict | None):
        return "variables must be an object or null"
    return None
