"""System calls on sockets that answer at once, made without giving the interpreter to another thread meanwhile.

Those of `socket` release it, since they may block. Where another thread computes, which parses a document maybe, each
then waits for its turn: to accept a connection took 70 us instead of 5, and so did each look at one and each close.
Elsewhere than on Linux they are those of `socket`.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import sys
from typing import Final

_ADDRESS_BYTES: Final = 28
"""Of `struct sockaddr_in6`, the longest that is told apart."""

_HANGUP: Final = getattr(select, "POLLRDHUP", 0)
"""That the other side sends no more. Linux alone tells before what was sent is read."""


class _Polled(ctypes.Structure):
    """`struct pollfd`: https://man7.org/linux/man-pages/man2/poll.2.html"""

    _fields_ = (("file", ctypes.c_int), ("events", ctypes.c_short), ("returned", ctypes.c_short))


def _library() -> ctypes.PyDLL | None:
    """The C library, called with the interpreter held; null where it has not got what is called here."""
    if sys.platform != "linux":
        return None
    library = ctypes.PyDLL(None, use_errno=True)
    library.accept4.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
    library.getpeername.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    library.poll.argtypes = (ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int)
    library.close.argtypes = (ctypes.c_int,)
    return library


_LIBRARY: Final = _library()


def accept(listener: socket.socket) -> socket.socket:
    """The next connection, which does not block. Raises OSError as `socket.accept` does; of a listener that does not
    block BlockingIOError, if there is none."""
    if _LIBRARY is None:
        connection, _ = listener.accept()
        connection.settimeout(0.0)
        return connection
    file = _LIBRARY.accept4(listener.fileno(), None, None, os.O_NONBLOCK | os.O_CLOEXEC)
    if file < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return socket.socket(listener.family, socket.SOCK_STREAM, 0, file)


def peer_of(connection: socket.socket) -> bytes | None:
    """The address of the other side, without its port, to be told from others; null if it has left. All that have none
    have the same."""
    if _LIBRARY is None:
        try:
            name = connection.getpeername()
        except OSError:
            return None
        return name[0].encode() if isinstance(name, tuple) else b""
    address = ctypes.create_string_buffer(_ADDRESS_BYTES)
    length = ctypes.c_uint(_ADDRESS_BYTES)
    if _LIBRARY.getpeername(connection.fileno(), address, ctypes.byref(length)):
        return None
    # After the family and the port; in IPv6 after four bytes of flow label, too.
    return {socket.AF_INET: address.raw[4:8], socket.AF_INET6: address.raw[8:24]}.get(connection.family, b"")


def has_left(connection: socket.socket) -> bool:
    """Whether its other side sends no more, as far as is known."""
    if _LIBRARY is None or not _HANGUP:
        return False
    polled = _Polled(connection.fileno(), _HANGUP, 0)
    return bool(_LIBRARY.poll(ctypes.byref(polled), 1, 0) > 0)


def close(connection: socket.socket) -> None:
    if _LIBRARY is None:
        connection.close()
    else:
        _LIBRARY.close(connection.detach())
