"""The address a server listens on, taken before anything else is started."""

import errno
import os
import socket

from graph.cli.exits import Exit, Failure


def bound_socket(host: str, port: int) -> socket.socket:
    """Bound, not listening yet: whoever connects before we are ready is refused, not left waiting. Raises Failure."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error) from error
    return listener


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _cannot_listen(host: str, port: int, error: OSError) -> Failure:
    if error.errno == errno.EADDRINUSE:
        return Failure(
            Exit.NO,
            f"Port {port} of {host} is taken by another program.",
            ["Stop that one, or choose another with --port (0 takes any that is free)."],
        )
    why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    return Failure(Exit.NO, f"Cannot listen on port {port} of {host}: {why}.", ["Choose others: --host, --port."])
