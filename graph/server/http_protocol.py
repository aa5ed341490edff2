"""uvicorn's HTTP protocol within limits: of a request's head, of the time that its parts may take, of what is read of
one connection in a turn of the event loop, and of the time that a client may leave its answer unread.

Why each is as it is: docs/decisions/0048-before-a-token-is-known.md.
"""

import asyncio
import logging
from http import HTTPStatus
from typing import Any, ClassVar, Final, Self, cast

import httptools
import orjson
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from graph.execution.errors import Code
from graph.server.connections import Connections, WireLimits
from graph.server.joined_writes import JoinedWrites
from graph.server.repeated_heads import RepeatedHeads, head_of

_HEAD_SLICE: Final = 8_192
"""Read at a time while a head is awaited, or chunks of a body: each request or chunk in it takes microseconds."""

_BODY_SLICE: Final = 65_536
"""Read at a time of a body whose length is known."""

_DISCARDED_BYTES: Final = 1_048_576
"""Of a request that was answered before it was read: read on and thrown away, for a connection that is closed with
bytes unread is reset, and its client loses the answer."""

_LINGER_SECONDS: Final = 2.0

_REQUEST, _HEAD, _BODY = range(3)
"""What is awaited: the first byte of a request, the rest of its head, the rest of its body."""

_CLOSE: Final = (b"connection", b"close")

_log = logging.getLogger(__name__)


class HttpProtocol(HttpToolsProtocol):
    """One connection. It has one timer, which looks when what it waits for began; uvicorn makes one for each
    response."""

    limits: ClassVar[WireLimits] = WireLimits()
    registry: ClassVar[Connections | None] = None
    """Which connections there may be; null for any."""
    repeated: ClassVar[RepeatedHeads | None] = None
    """What answers requests whose head came before; null for nothing."""

    # Absent before the first request, which uvicorn's annotations leave out, and after the last one.
    cycle: Any
    flow: Any
    headers: Any
    parser: Any
    pipeline: Any
    scope: Any

    _awaits = _REQUEST
    _begun = 0
    """Requests of which the first byte was in what is being read."""
    _head = b""
    """Of the last request that came in one piece, if it may come again."""
    _since: float = 0.0
    """When what is awaited began: of a head and of a body, when its first byte came."""
    _idle_since: float | None = None
    """When the last response ended, if no request has begun since."""
    _has_begun = False
    """Whether a request or its body began in what is being read."""
    _size = 0
    """Bytes received of the head or the body that is awaited."""
    _pending = b""
    """Received, and to be read in a later turn."""
    _answering: Any = None
    """uvicorn's cycle of the request whose answer was begun last; `cycle` is of the one that was received last."""
    _closing = False
    """Whether nothing more of this connection is read but to be thrown away."""
    _discarded = 0
    _timer: asyncio.TimerHandle | None = None
    _unsent = 0
    """Bytes that the client had left unread when it was last looked at."""
    _unsent_timer: asyncio.TimerHandle | None = None

    @classmethod
    def within(
        cls, limits: WireLimits, registry: Connections | None, repeated: RepeatedHeads | None = None
    ) -> type[Self]:
        """The protocol with these limits. uvicorn takes a class, not an instance."""
        return type(cls.__name__, (cls,), {"limits": limits, "registry": registry, "repeated": repeated})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        joined = JoinedWrites(transport, self.loop, self._watch_unsent)
        super().connection_made(cast("asyncio.Transport", joined))
        self.flow = _Flow(self.transport)
        self._since = self.loop.time()
        connections: Any = self.connections
        refusal = None if self.registry is None else self.registry.refusal(self.client, connections)
        if refusal is None:
            self._watch()
        else:
            self._refuse(*refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        # uvicorn has the last one received notice it. An event stream with a request behind it would go on for ever.
        answering, self._answering = self._answering, None
        if answering is not None and not answering.response_complete:
            answering.disconnected = True
            answering.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)
        self._stop_timers()
        self._pending = b""
        if self.registry is not None:
            self.registry.ended(self.client)
        transport: object = self.transport
        if isinstance(transport, JoinedWrites):
            transport.lost()

    @property
    def waits_since(self) -> float | None:
        """As Connection."""
        if self._idle_since is not None:
            return self._idle_since
        is_answering = self.cycle is not None and not self.cycle.response_complete
        return None if is_answering and self._awaits == _REQUEST else self._since

    def make_room(self) -> None:
        """As Connection. What is half sent is not answered: the descriptor is needed now."""
        self._closing = True
        if self._idle_since is None:
            self.transport.abort()
        else:
            self.transport.close()

    # What is received.

    def data_received(self, data: bytes) -> None:
        if self._closing:
            self._discarded += len(data)
            if self._discarded > _DISCARDED_BYTES:
                self.transport.abort()
        elif self._pending:
            self._pending += data
        elif len(data) <= _HEAD_SLICE:
            repeated = self.repeated if self._is_between_requests else None
            if repeated is None:
                self._feed(data)
            elif not self._answer_again(data, repeated):
                self._feed(data)
                self._note(data, repeated)
        else:
            self._pending = data
            self._read_on()

    @property
    def _is_between_requests(self) -> bool:
        """Whether everything received was answered, and the client has room for what is answered next."""
        return (
            self._awaits == _REQUEST
            and (self.cycle is None or self.cycle.response_complete)
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )

    def _answer_again(self, data: bytes, repeated: RepeatedHeads) -> bool:
        """Whether it was a whole request whose head is known and whose answer is kept. The parser, which has not seen
        it, is where it would be after it: between requests."""
        answer = repeated.answer(data, self.server_state.default_headers)
        if answer is None:
            return False
        cast("JoinedWrites", self.transport).write_whole(answer)
        self.on_response_complete()
        return True

    def _note(self, data: bytes, repeated: RepeatedHeads) -> None:
        """Remember the head of what was one request, once it has come twice on this connection."""
        if self.parser is None or self._begun != 1 or self._awaits != _REQUEST:
            return
        head = head_of(data)
        if head and head == self._head:
            repeated.remember(head, self.scope, len(data))
        self._head = head

    def _read_on(self) -> None:
        """Feed a slice of what was received. The rest follows in turns of its own; once several requests wait for their
        turn, when those have been answered."""
        flow = self.flow
        flow.is_held = False
        if self._closing or self.transport.is_closing():
            self._pending = b""
            return
        is_chunked = any(name == b"transfer-encoding" for name, _ in self.headers or ())
        size = _BODY_SLICE if self._awaits == _BODY and not is_chunked else _HEAD_SLICE
        part, self._pending = self._pending[:size], self._pending[size:]
        self._feed(part)
        if self.parser is None:
            return  # a socket by now
        if self._is_refused():
            self._pending = b""
        elif self._pending:
            flow.pause_reading()
            flow.is_held = True
            if not self.pipeline:
                self.loop.call_soon(self._read_on)
        elif not self.pipeline and (self.cycle is None or len(self.cycle.body) <= HIGH_WATER_LIMIT):
            flow.resume_reading()

    def _is_refused(self) -> bool:
        return self._closing

    def _feed(self, data: bytes) -> None:
        self._has_begun, self._begun = False, 0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade() and not self._closing:
                self.handle_websocket_upgrade()
                return
        except httptools.HttpParserError:
            if not self._closing:
                self._refuse(HTTPStatus.BAD_REQUEST, Code.BAD_REQUEST, "This is no request of HTTP/1.1.")
        if self._is_refused() or self._awaits == _REQUEST:
            return
        if self._has_begun:
            self._size, self._since = 0, self.loop.time()
        self._size += len(data)
        if self._awaits == _HEAD and self._size > self.limits.head_bytes:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                Code.HEADERS_TOO_LARGE,
                f"The headers are larger than the {self.limits.head_bytes:,} bytes this server accepts.",
            )
        elif self._awaits == _BODY and self._has_begun:
            # If it is answered before it is whole, the answer is the last one.
            self.cycle.default_headers = [*self.server_state.default_headers, _CLOSE]
            cast("Any", self.transport).linger = self._linger
        self._watch()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._idle_since = None
        self._awaits, self._has_begun = _HEAD, True
        self._begun += 1

    def on_headers_complete(self) -> None:
        self._awaits, self._has_begun = _BODY, True
        if len(self.headers) > self.limits.headers:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                Code.HEADERS_TOO_LARGE,
                f"There are more than the {self.limits.headers} headers this server accepts.",
            )
        if not self._closing:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._closing:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._awaits = _REQUEST
        if self._closing:
            return
        super().on_message_complete()
        transport = cast("Any", self.transport)
        if transport.linger is not None:
            transport.linger = None
            self.cycle.default_headers = self.server_state.default_headers

    def handle_websocket_upgrade(self) -> None:
        """Frames are joined by the protocol of the socket, which may answer at once."""
        joined = cast("JoinedWrites", self.transport)
        joined.flush()
        self.transport = joined.transport
        self._stop_timers()
        super().handle_websocket_upgrade()
        # It refers to this object, which otherwise would stay until the garbage is collected.
        self.parser = self.cycle = self.flow = self.scope = self._answering = None
        self.headers = []

    def _unset_keepalive_if_required(self) -> None:
        """A connection is idle until a request begins."""

    # What is answered.

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self._closing or self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._pending:
            self.loop.call_soon(self._read_on)
        else:
            if self._awaits == _REQUEST:
                self._idle_since = self.loop.time()
            self._watch()

    def _refuse(self, status: HTTPStatus, code: Code, message: str) -> None:
        """Answer what is being received, and nothing after it."""
        cycle = self.cycle
        self._closing = True
        if self.pipeline:
            self.transport.abort()
            return
        if cycle is not None and not cycle.response_complete:
            if cycle.scope is not self.scope or cycle.response_started:
                cycle.keep_alive = False  # the answer to the request before, or half of one, is sent first
                return
            cycle.disconnected = True
            cycle.message_event.set()
        body = orjson.dumps({"errors": [{"message": message, "extensions": {"code": code}}]})
        head = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), _CLOSE]
        lines = [name + b": " + value + b"\r\n" for name, value in (*self.server_state.default_headers, *head)]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self._linger()

    def _linger(self) -> None:
        """Close it once the client has: what was sent is read by then."""
        self._closing = True
        self._pending = b""
        transport = cast("JoinedWrites", self.transport)
        transport.linger = None
        if transport.is_closing():
            return
        self.flow.is_held = False
        self.flow.resume_reading()
        transport.write_eof()
        self._stop_timers()
        self._timer = self.loop.call_later(_LINGER_SECONDS, transport.close)

    # What takes too long.

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._unsent_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._unsent_timer = None

    def _watch(self) -> None:
        """Look in time for whatever may be awaited then."""
        if self._timer is None and not self._closing:
            self._timer = self.loop.call_later(
                min(self.limits.head_seconds, self.limits.body_seconds, self.timeout_keep_alive), self._look
            )

    def _look(self) -> None:
        self._timer = None
        now = self.loop.time()
        deadline = self._deadline(now)
        if deadline is None or self._closing or self.transport.is_closing():
            return
        if deadline > now:
            self._timer = self.loop.call_at(min(deadline, now + self.timeout_keep_alive), self._look)
        elif self._awaits == _REQUEST:
            self.transport.close()
        else:
            part = "headers" if self._awaits == _HEAD else "body"
            self._refuse(
                HTTPStatus.REQUEST_TIMEOUT, Code.REQUEST_TIMEOUT, f"The {part} of the request came too slowly."
            )

    def _deadline(self, now: float) -> float | None:
        """For what is awaited; null for nothing, while a request is answered."""
        if self._awaits != _REQUEST and self.flow.read_paused:
            self._since = now  # it is this side that makes it wait
        if self._awaits == _HEAD:
            return self._since + self.limits.head_seconds
        if self._awaits == _BODY:
            return self._since + self.limits.body_seconds + self._size / self.limits.body_bytes_a_second
        if self._idle_since is not None:
            return self._idle_since + self.timeout_keep_alive
        return self._since + self.limits.head_seconds if self.cycle is None else None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_unsent()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unsent_timer is not None and not self.transport.is_closing():
            self._unsent_timer.cancel()
            self._unsent_timer = None

    def _watch_unsent(self) -> None:
        """What was written is on its way, maybe beyond the end of the connection for this side."""
        self._unsent = self.transport.get_write_buffer_size()
        if self._unsent_timer is None and self._unsent:
            self._unsent_timer = self.loop.call_later(self.limits.send_seconds, self._look_unsent)

    def _look_unsent(self) -> None:
        """A client that takes too little of what it was sent loses its connection, and what was buffered is freed."""
        self._unsent_timer = None
        unsent = self.transport.get_write_buffer_size()
        taken = self._unsent - unsent
        if unsent and taken < self.limits.send_seconds * self.limits.sent_bytes_a_second:
            _log.info("a client took %d bytes of its answer in %g s, and is cut off", taken, self.limits.send_seconds)
            self.transport.abort()
        else:
            self._watch_unsent()


class _Flow(FlowControl):
    is_held = False
    """Whether what was received is still being read."""

    def resume_reading(self) -> None:
        if not self.is_held:
            super().resume_reading()
