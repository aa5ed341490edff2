"""Every code that this server closes a WebSocket with, and whether the client should connect again.

The rules are those of the official client, npm graphql-ws: a code that it treats as fatal ends all its subscriptions,
after any other it connects again. Of the codes below 2000 it does so after 1000, 1001, 1005, 1006, 1012, 1013 and 1014;
of those above, 4400, 4401, 4406, 4409, 4429 and 4500 are fatal. docs/graphql-api.md has the table for clients.
"""

from enum import IntEnum
from typing import Final


class CloseCode(IntEnum):
    """Up to 1012 as RFC 6455 and its registry have them, from 4400 on as graphql-transport-ws has."""

    UNRESPONSIVE = 1001
    """A ping was not answered: the machine slept, or the network is gone. Never 1011, which is fatal to clients."""
    PROTOCOL_ERROR = 1002
    NOT_UTF8 = 1007
    TOO_BIG = 1009
    RESTARTING = 1012
    BAD_MESSAGE = 4400
    UNAUTHORIZED = 4401
    """No token, or one that can never become good, forged or malformed; or an operation before `connection_init`."""
    TOKEN_OUTDATED = 4403
    """The token has expired, before or meanwhile, or is not valid yet: the next one may be good."""
    PROTOCOL_UNKNOWN = 4406
    INIT_TIMEOUT = 4408
    ID_IN_USE = 4409
    INIT_TWICE = 4429

    @property
    def comes_back(self) -> bool:
        """Whether the client should connect again and go on from its cursor; else the same would happen again."""
        return self in _COMES_BACK


_COMES_BACK: Final = frozenset(
    {CloseCode.UNRESPONSIVE, CloseCode.RESTARTING, CloseCode.TOKEN_OUTDATED, CloseCode.INIT_TIMEOUT}
)


def is_final(code: int) -> bool:
    """Whether a socket that was closed with this code is not to be opened again. Codes that this server does not send,
    such as those of a proxy, are not final."""
    return code in CloseCode.__members__.values() and not CloseCode(code).comes_back
