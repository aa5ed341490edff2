"""A server in a thread that gives every request the same bytes for an answer, whatever it was."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def http(body: str | bytes, status: str = "200 OK", headers: str = "content-type: application/json") -> bytes:
    content = body if isinstance(body, bytes) else body.encode()
    head = f"HTTP/1.1 {status}\r\n{headers}\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
    return head.encode() + content


@contextmanager
def answering_always(answer: bytes) -> Iterator[str]:
    """Its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, answer))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(listener: socket.socket, answer: bytes) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        with client, suppress(OSError):
            _read_request(client)
            client.sendall(answer)


def _read_request(client: socket.socket) -> None:
    client.settimeout(10)
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += client.recv(65_536) or b"\r\n\r\n"
    length = re.search(rb"content-length: (\d+)", received[:end], re.IGNORECASE)
    while length and len(received) < end + 4 + int(length[1]) and (more := client.recv(65_536)):
        received += more
