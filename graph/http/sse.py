"""Subscriptions as server-sent events, for clients that cannot or would rather not use a WebSocket.

Distinct connections mode of https://github.com/graphql/graphql-over-http/blob/main/rfcs/GraphQLOverSSE.md: `next` for a
result, `complete` at the end. The id of each event is its cursor, so a client that lost the connection sends it back as
`Last-Event-ID` and misses nothing; browsers' EventSource does that by itself.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from graph.auth.principal import Unauthenticated
from graph.auth.tokens import EXPIRED, wait_until_expired
from graph.execution.context import Context
from graph.subscriptions.groups import Message
from graph.subscriptions.manager import SubscriptionManager
from graph.subscriptions.operation import SubscriptionOperation

LAST_EVENT_ID: Final = "last-event-id"

MEDIA_TYPE: Final = "text/event-stream"

HEADERS: Final[Mapping[str, str]] = {"cache-control": "no-cache", "x-accel-buffering": "no"}

SEND_TIMEOUT_SECONDS: Final = 30.0
"""How long a client may take nothing. Then the connection is dropped, and it resumes from its last event id."""

_COMPLETE: Final = b"event: complete\ndata:\n\n"

_RETRY: Final = b"retry: 1000\n\n"
"""Milliseconds until EventSource connects again."""

_log = logging.getLogger(__name__)


class EventStream(Response):
    """One subscription, until the client leaves, its token expires, it cannot go on, or the server is stopping."""

    media_type = MEDIA_TYPE

    def __init__(self, subscriptions: SubscriptionManager, operation: SubscriptionOperation, context: Context) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._subscriptions = subscriptions
        self._operation = operation
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

        async def write(chunk: bytes, *, more: bool = True) -> None:
            await send({"type": "http.response.body", "body": chunk, "more_body": more})

        async def send_batch(message: Message) -> None:
            await write(_next(message.payload, self._operation.stream.cursor(message.batch.position)))

        async def left() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        async def token_expires() -> None:
            await wait_until_expired(self._context.principal)
            raise Unauthenticated(EXPIRED)

        await write(_RETRY)
        try:
            await _until_first_ends(
                asyncio.create_task(
                    self._subscriptions.run(self._operation, send_batch, send_timeout=SEND_TIMEOUT_SECONDS)
                ),
                asyncio.create_task(left()),
                asyncio.create_task(token_expires()),
                asyncio.create_task(self._subscriptions.drained()),
            )
        except TimeoutError:
            _log.info("request %s: the client took nothing for %g s", self._context.request_id, SEND_TIMEOUT_SECONDS)
            return  # unfinished, so the server drops the connection: to write an end would mean to wait for the client
        except OSError:
            return  # the client has gone
        except Exception as error:  # noqa: BLE001 - published: refusals as they are, defects logged and masked
            await write(_next(self._operation.failure(error).encode()) + _COMPLETE)
        await write(b"", more=False)


async def _until_first_ends(*tasks: asyncio.Task[Any]) -> None:
    """Until one of the tasks has ended; the others are cancelled and waited for. Raises what the first one raised."""
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, Exception):
                await task
    for task in done:
        task.result()


def one_result(payload: bytes, headers: Mapping[str, str] = HEADERS) -> Response:
    """What is not a subscription, or was not begun, as a stream of its own: one result, and the end."""
    return Response(_next(payload) + _COMPLETE, headers={**HEADERS, **headers}, media_type=MEDIA_TYPE)


def _next(payload: bytes, cursor: str | None = None) -> bytes:
    """JSON has no line breaks, and cursors neither. Lines end in LF: parsers that split at it would keep a CR."""
    identity = b"" if cursor is None else b"id: %b\n" % cursor.encode()
    return b"%bevent: next\ndata: %b\n\n" % (identity, payload)
