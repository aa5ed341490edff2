"""Everything that can go wrong between a client and a server, under one root, with messages for operators."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Final

from graph.client.address import Address

POSITION_LOST: Final = frozenset({"COMPACTED", "EPOCH_MISMATCH", "FUTURE_CURSOR", "BAD_CURSOR"})
"""Codes of positions in the change stream that cannot be resumed from: the table has to be read anew.

A cursor is bad that was written by a server of another version.
"""

_MAY_PASS: Final = frozenset(
    {
        *("UNAVAILABLE", "OVERLOADED", "LOCKED", "COMMIT_UNKNOWN", "FENCED", "SCHEMA_OUT_OF_DATE", "STALE_READ"),
        "TRANSIENT_CONFLICT",
    }
)


class ClientError(Exception):
    """Root of every error of a request or a subscription."""


class ServerUnreachable(ClientError):
    """Nothing listens there, or not yet."""

    def __init__(self, address: Address, why: object) -> None:
        super().__init__(f"There is no server at {address.url}: {why}.")


class AnswerLost(ClientError):
    """The request went out and no answer came back: a mutation may have been carried out."""


class NotGraphQL(ClientError):
    """Something answered that is no server of ours. `busy`: a gateway whose server may come back."""

    _BUSY: ClassVar = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)

    def __init__(self, address: Address, status: int) -> None:
        super().__init__(f"{address.graphql} answered with HTTP {status}, not with GraphQL.")
        self.busy = status in self._BUSY


class ProtocolBroken(ClientError):
    """The other side does not speak graphql-transport-ws as it should."""


class ConnectionLost(ClientError):
    """A stream broke off, or could not be opened just now; opened anew, it goes on."""


class OperationRefused(ClientError):
    """GraphQL answered with errors; `code` and the message are those of the first."""

    def __init__(self, errors: Sequence[Mapping[str, Any]]) -> None:
        first = errors[0]
        super().__init__(str(first.get("message") or "The server failed without saying why."))
        self.errors = errors
        self.code = str((first.get("extensions") or {}).get("code"))

    @classmethod
    def of(cls, message: str, code: str) -> "OperationRefused":
        """For a refusal that came in another form than GraphQL's."""
        return cls([{"message": message, "extensions": {"code": code}}])

    @property
    def may_pass(self) -> bool:
        """Whether the same operation may succeed later, or on another server."""
        return self.code in _MAY_PASS
