"""Everything that can go wrong between a client and a server, under one root, with messages for operators."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Final, NoReturn

from graph.client.address import Address, without_password

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


_TAGS: Final = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)

_WORDS: Final = 80
"""Characters of an answer that a message repeats."""


def _first_words(text: str) -> str:
    """Of a page in HTML or of plain text."""
    words = " ".join(_TAGS.sub(" ", text[:4096]).split())
    return words if len(words) <= _WORDS else words[: _WORDS - 3] + "..."


class ClientError(Exception):
    """Root of every error of a request or a subscription."""


class ServerUnreachable(ClientError):
    """Nothing listens there, or not yet."""

    def __init__(self, address: Address, why: object) -> None:
        super().__init__(f"There is no server at {address}: {why}.")


class AnswerLost(ClientError):
    """The request went out and no answer came back: a mutation may have been carried out."""


class NotGraphQL(ClientError):
    """Something answered that is no server of ours. `busy`: a gateway whose server may come back. `between`: it refused
    the request itself, as a proxy does that does not serve the host.

    `text` is of the answer: its first words are in the message.
    """

    _BUSY: ClassVar = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)

    _BETWEEN: ClassVar = (
        *(HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED),
        HTTPStatus.MISDIRECTED_REQUEST,
    )

    def __init__(self, address: Address, status: int, text: str = "", *, url: str | None = None) -> None:
        words = f" ({found})" if (found := _first_words(text)) else ""
        super().__init__(
            f"{without_password(url or address.graphql)} answered with HTTP {status}, not with GraphQL{words}."
        )
        self.busy = status in self._BUSY
        self.between = status in self._BETWEEN


class AnswerMalformed(ClientError):
    """An answer in GraphQL that is not of the form that was requested: of a server of another version, or of none."""

    def __init__(self, what: str) -> None:
        super().__init__(f"The answer is not what was requested: {what}.")


class Answer(dict[str, Any]):
    """An object of an answer. A member that is missing raises AnswerMalformed."""

    def __missing__(self, name: str) -> NoReturn:
        raise AnswerMalformed(f"it has no {name!a}")


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
    def read(cls, errors: object) -> "OperationRefused | None":
        """Of the `errors` of an answer; null for what is not GraphQL's: a list of objects with a message each."""
        if not isinstance(errors, list) or not errors:
            return None
        for error in errors:
            if not isinstance(error, dict) or not isinstance(error.get("message"), str):
                return None
            if not isinstance(error.get("extensions") or {}, dict):
                return None
        return cls(errors)

    @classmethod
    def of(cls, message: str, code: str) -> "OperationRefused":
        """For a refusal that came in another form than GraphQL's."""
        return cls([{"message": message, "extensions": {"code": code}}])

    @property
    def may_pass(self) -> bool:
        """Whether the same operation may succeed later, or on another server."""
        return self.code in _MAY_PASS
