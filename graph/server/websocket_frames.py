"""Frames of RFC 6455 that a server reads and writes, without input and output. https://www.rfc-editor.org/rfc/rfc6455"""

from __future__ import annotations

import struct
from typing import Final

from websockets.frames import Opcode

try:
    from websockets.speedups import apply_mask
except ImportError:  # built where there is no compiler
    from websockets.utils import apply_mask

from graph.close_codes import CloseCode

_CONTROL_BYTES: Final = 125

_FIN, _RESERVED, _OPCODE, _MASKED, _CONTROL = 0x80, 0x70, 0x0F, 0x80, 0x08

_OPCODES: Final = frozenset(int(each) for each in Opcode)

Frame = tuple[int, bytes]
"""An opcode and a payload."""

FRAGMENT: Final[Frame] = (int(Opcode.CONT), b"")
"""A part of a message that goes on."""


class FrameError(Exception):
    """What came is no frame, or one too large: the socket is to be closed with this code."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class FrameReader:
    """Messages and control frames, in the order of their ends, from what a client sends."""

    __slots__ = ("_buffer", "_frame", "_message", "_message_opcode", "max_message_bytes")

    def __init__(self, max_message_bytes: int) -> None:
        self.max_message_bytes = max_message_bytes
        # What was received and not read: null while there is nothing, which is nearly always.
        self._buffer: bytearray | None = None
        # Of the frame whose payload is awaited: first byte, size, mask.
        self._frame: tuple[int, int, bytes] | None = None
        # What has come of the message whose last fragment is awaited.
        self._message: bytearray | None = None
        self._message_opcode = 0

    def feed(self, data: bytes) -> None:
        if self._buffer is None:
            self._buffer = bytearray(data)
        else:
            self._buffer += data

    def next(self) -> Frame | None:
        """The next control frame or whole message, or FRAGMENT; null if more has to come first. Raises FrameError; what
        is wrong with a frame, its size above all, is found before its payload has come."""
        buffer = self._buffer
        if buffer is None or (self._frame is None and not self._read_head(buffer)) or self._frame is None:
            return None
        first, size, mask = self._frame
        if len(buffer) < size:
            return None
        with memoryview(buffer) as view:
            payload = apply_mask(view[:size], mask)
        del buffer[:size]
        self._frame = None
        if not buffer:
            self._buffer = None
        return self._read(first, payload)

    def _read_head(self, buffer: bytearray) -> bool:
        """Whether there is a whole one."""
        if len(buffer) < 2:  # noqa: PLR2004 - what every frame begins with
            return False
        first, second = buffer[0], buffer[1]
        if problem := self._problem(first, second):
            raise FrameError(CloseCode.PROTOCOL_ERROR, problem)
        size = second & 0x7F
        length = {126: 2, 127: 8}.get(size, 0)
        if len(buffer) < 2 + length + 4:
            return False
        if length:
            size = int.from_bytes(buffer[2 : 2 + length])
        if not first & _CONTROL and size + len(self._message or b"") > self.max_message_bytes:
            raise FrameError(CloseCode.TOO_BIG, "Message too big")
        self._frame = (first, size, bytes(buffer[2 + length : 6 + length]))
        del buffer[: 6 + length]
        return True

    def _problem(self, first: int, second: int) -> str | None:
        """What is wrong with a frame that begins with these two bytes."""
        opcode = first & _OPCODE
        if not second & _MASKED:
            return "incorrect masking"
        if first & _RESERVED or opcode not in _OPCODES:
            return "reserved bits or opcode"
        if opcode & _CONTROL:
            is_short = second & 0x7F <= _CONTROL_BYTES and first & _FIN
            return None if is_short else "control frames are short and not fragmented"
        is_due = (opcode == Opcode.CONT) == (self._message is not None)
        return None if is_due else "a fragment of no message, or a message between fragments"

    def _read(self, first: int, payload: bytes) -> Frame:
        opcode = first & _OPCODE
        if opcode & _CONTROL:
            return opcode, payload
        if opcode != Opcode.CONT:
            self._message_opcode = opcode
            if first & _FIN:
                return opcode, payload
            self._message = bytearray()
        message = self._message if self._message is not None else bytearray()
        message += payload
        if not first & _FIN:
            return FRAGMENT
        self._message = None
        return self._message_opcode, bytes(message)


def frame_of(opcode: int, payload: bytes) -> bytes:
    """A whole message or control frame, as a server sends it: not masked."""
    size = len(payload)
    if size <= _CONTROL_BYTES:
        return struct.pack("!BB", _FIN | opcode, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", _FIN | opcode, 126, size) + payload
    return struct.pack("!BBQ", _FIN | opcode, 127, size) + payload
