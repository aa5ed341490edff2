"""Where a server is, and which token is sent there."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import SplitResult, urlsplit

TokenSource: TypeAlias = Callable[[], str]
"""Returns the token that is good now. Called for each connection, and when a server has refused the last one."""

_SOCKETS: Final = {"http": "ws", "https": "wss"}

_PATH: Final = "/graphql"


@dataclass(frozen=True, slots=True)
class Address:
    """`url` as it was given; `graphql` and `socket` are where requests and subscriptions go. As text, and so in
    messages, it is without the password that may be in it.

    `through_proxy`: whether the proxies of the environment apply. No proxy reaches a server on this machine. `token`
    is null where none is sent.
    """

    url: str
    graphql: str
    socket: str
    through_proxy: bool
    token: TokenSource | None = None

    def __str__(self) -> str:
        return without_password(self.url)


def without_password(url: str) -> str:
    """A URL that may be shown: what a password was is not there to be read."""
    try:
        parts = urlsplit(url)
    except ValueError:  # of a proxy, which the environment may name in any way
        login, at, host = url.rpartition("@")
        return f"{'***' if login else ''}{at}{host}"
    if parts.password is None:
        return url
    return parts._replace(netloc=f"{parts.username}:***@{parts.netloc.rpartition('@')[2]}").geturl()


def read_address(url: str) -> Address:
    """Raises ValueError with a message unless `url` is one of http or https with a host."""
    example = "write for example http://127.0.0.1:8080"
    try:
        parts = urlsplit(url)
        usable = url.isprintable() and parts.scheme in _SOCKETS and bool(parts.hostname) and parts.port != 0
        # As it is looked up: a label may be empty, or longer than any name can have.
        (parts.hostname or "").encode("idna")
    except ValueError as error:
        raise ValueError(f"{url!a} is not an address ({error}): {example}") from None
    if not usable:
        raise ValueError(f"{url!a} is not the address of a server: {example}")
    path = parts.path.rstrip("/")
    if not path.endswith(_PATH):
        path += _PATH
    graphql = SplitResult(parts.scheme, parts.netloc, path, "", "")
    socket = graphql._replace(scheme=_SOCKETS[parts.scheme])
    return Address(url, graphql.geturl(), socket.geturl(), through_proxy=not _is_here(str(parts.hostname)))


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
