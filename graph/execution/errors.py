"""What a client may learn of an error: a stable code, a message, and the numbers that help.

Refusals that the API documents are passed on. Anything else is a defect or an outage: it is logged here, once, with the
request id, and the client gets that id and, of an outage, its kind.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

from graphql import GraphQLError, GraphQLSyntaxError
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError

from graph.auth.principal import Forbidden, Unauthenticated
from persistence.errors import (
    CommitUnknown,
    Compacted,
    EpochMismatch,
    Fenced,
    FutureCursor,
    FutureRevision,
    InvalidArgument,
    Locked,
    Overloaded,
    PlanCorrupt,
    PositionUnavailable,
    SchemaOutOfDate,
    StaleRead,
    StoreError,
    StoreUnavailable,
    TransientConflict,
    Unavailable,
)
from persistence.planning.planner import PlacementImpossible
from persistence.planning.proposal import Violation

_MAX_MESSAGE: Final = 2_000

_MOST_ROWS: Final = 20
"""Of those that are locked, in `extensions`."""

_log = logging.getLogger(__name__)


class Code(StrEnum):
    """`extensions.code` of what this package refuses itself; the store's refusals have codes of their own.

    All stand in docs/graphql-api.md, and a test compares that list with this one.
    """

    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    CROSS_SITE = "CROSS_SITE"
    MISDIRECTED = "MISDIRECTED"
    BAD_REQUEST = "BAD_REQUEST"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    HEADERS_TOO_LARGE = "HEADERS_TOO_LARGE"
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
    TOO_MANY_CONNECTIONS = "TOO_MANY_CONNECTIONS"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    SUBSCRIPTION_TRANSPORT = "SUBSCRIPTION_TRANSPORT"
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
    PERSISTED_QUERY_NOT_SUPPORTED = "PERSISTED_QUERY_NOT_SUPPORTED"
    DOCUMENT_NOT_TRUSTED = "DOCUMENT_NOT_TRUSTED"
    COST_EXCEEDED = "COST_EXCEEDED"
    OPERATION_NOT_FOUND = "OPERATION_NOT_FOUND"
    TOO_MANY_OPERATIONS = "TOO_MANY_OPERATIONS"
    PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
    BAD_USER_INPUT = "BAD_USER_INPUT"
    PLACEMENT_IMPOSSIBLE = "PLACEMENT_IMPOSSIBLE"
    INTERNAL = "INTERNAL"


class NotFoundError(Exception):
    """A query names something that is not there, and its answer cannot be null. The message is for the client."""


def publish(errors: list[GraphQLError], request_id: str) -> None:
    """Replace each error by what the client may see of it, and log what it may not."""
    errors[:] = [_published(error, request_id) for error in errors]


def coded(error: GraphQLError, code: str, **numbers: Any) -> GraphQLError:
    """The error with its code, and with a message that any encoder can write."""
    return GraphQLError(
        encodable(error.message),
        error.nodes,
        error.source,
        error.positions,
        error.path,
        extensions={"code": code, **numbers},
    )


def encodable(message: str) -> str:
    """A message may quote a request, and a request may hold lone surrogates or be enormous."""
    return message[:_MAX_MESSAGE].encode("utf-8", "backslashreplace").decode()


def _published(error: GraphQLError, request_id: str) -> GraphQLError:
    if "code" in (error.extensions or {}):
        return error
    cause = _cause(error)
    code = _public_code(cause, error)
    if code is not None:
        return coded(error, code, **_numbers(cause))
    if isinstance(cause, StoreError) and (explanation := _unavailability(cause)) is not None:
        _log.warning("request %s: %s: %s", request_id, cause.code, cause)
        code, message = cause.code, explanation
    else:
        _log.error("request %s failed", request_id, exc_info=cause)
        code, message = Code.INTERNAL, f"Internal error; report request id {request_id}."
    reworded = GraphQLError(message, error.nodes, error.source, error.positions, error.path)
    return coded(reworded, code, requestId=request_id, **_unavailability_numbers(cause))


def _unavailability(cause: StoreError) -> str | None:
    """The message for an outage, which passes or is for the operator of the server to mend. That of the error itself is
    for the log alone, because it may name hosts and users. Null for what is no outage."""
    match cause:
        case StoreUnavailable() if cause.code == StoreUnavailable.code:
            return _WHY_UNAVAILABLE[cause.reason]
        case Locked():
            # It names what `pg_stat_activity` shows to every role, and nothing of the statement.
            return f"It is {cause}. Try again after 'retryAfter' seconds; a session that was forgotten has to be ended."
        case _:
            return _UNAVAILABILITY.get(cause.code)


_NOTHING_WRITTEN: Final = "nothing was written. Try again shortly."

_WHY_UNAVAILABLE: Final = {
    Unavailable.UNREACHABLE: f"The store cannot be reached just now; {_NOTHING_WRITTEN}",
    Unavailable.ACCESS_DENIED: (
        "The database denies this server access; nothing was written. The log says to which role, and why."
    ),
    Unavailable.TOO_MANY_CONNECTIONS: f"The database takes no more connections; {_NOTHING_WRITTEN}",
    Unavailable.DISK_FULL: "The database's disk is full; nothing was written. It has to be given room.",
    Unavailable.READ_ONLY: f"The database takes no writes just now; {_NOTHING_WRITTEN}",
    Unavailable.AWAITING_STANDBY: (
        f"The database waits for its synchronous standby, and nothing is known before; {_NOTHING_WRITTEN}"
    ),
    Unavailable.TRANSACTION_POOLER: (
        "A pooler in transaction mode stands between the server and its database; nothing was written. It has to be "
        "set to session mode."
    ),
    Unavailable.SESSION_SETTINGS: (
        "The database does not give sessions the settings that they need; nothing was written. The log names them."
    ),
}

_UNAVAILABILITY: Final = {
    TransientConflict.code: "Too many changes met on the same shards; nothing was written. Try again shortly.",
    Overloaded.code: "The store is busy; nothing was written. Try again after 'retryAfter' seconds.",
    CommitUnknown.code: (
        "The change was sent to the database, which has not answered: whether it was made is unknown. Send the same "
        "request again, with its idempotency key, to find out."
    ),
    Fenced.code: f"The database is an old primary that came back, and is not used; {_NOTHING_WRITTEN}",
    SchemaOutOfDate.code: (
        "The database's schema is not one that this version of the server works with; nothing was written. The log "
        "says which of the two has to be upgraded."
    ),
}


def retry_after(errors: Sequence[GraphQLError]) -> dict[str, str] | None:
    """The header of an answer in which something was refused because the store is busy."""
    seconds = [(error.extensions or {}).get("retryAfter") for error in errors]
    busy = [wait for wait in seconds if wait is not None]
    return {"retry-after": str(math.ceil(max(busy)))} if busy else None


def _unavailability_numbers(cause: BaseException) -> Mapping[str, Any]:
    match cause:
        case Locked():
            return {"retryAfter": cause.retry_after, "rows": cause.rows[:_MOST_ROWS], "holders": _holders(cause)}
        case Overloaded():
            return {"retryAfter": cause.retry_after}
        case StoreUnavailable() if cause.code == StoreUnavailable.code:
            return {"reason": cause.reason.value}
    return {}


def _holders(cause: Locked) -> Sequence[Mapping[str, Any]]:
    return [
        {
            "pid": holder.pid,
            "applicationName": holder.application_name,
            "state": holder.state,
            "since": holder.since and holder.since.isoformat(),
        }
        for holder in cause.holders
    ]


def _public_code(cause: BaseException, error: GraphQLError) -> str | None:  # noqa: PLR0911 - one for each kind
    """The code of an error whose message is meant for the client, else none."""
    match cause:
        case InvalidArgument() | PositionUnavailable() | StaleRead() | PlanCorrupt():
            return cause.code
        case NotFoundError():
            return Code.NOT_FOUND
        case Unauthenticated():
            return Code.UNAUTHENTICATED
        case Forbidden():
            return Code.FORBIDDEN
        case PlacementImpossible():
            return Code.PLACEMENT_IMPOSSIBLE
        case GraphQLSyntaxError():
            return Code.PARSE_FAILED
        case MissingQueryError() | CannotGetOperationTypeError() | InvalidOperationTypeError():
            return Code.OPERATION_NOT_FOUND
        case GraphQLError() if cause.nodes or error.path is None:
            # Nodes point at the argument or variable that could not be read; a value that could not be written has
            # none, and is our defect.
            return Code.BAD_USER_INPUT
    return None


def _cause(error: GraphQLError) -> BaseException:
    """What was raised, under the errors that locate it."""
    cause: BaseException = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    return cause


def _numbers(cause: BaseException) -> Mapping[str, Any]:  # noqa: PLR0911 - one for each kind
    """What a program needs to go on. Revisions are strings of digits, as everywhere in this API."""
    match cause:
        case InvalidArgument():
            fields = [{"field": encodable(e.field), "message": encodable(e.message)} for e in cause.errors]
            return {"fields": fields}
        case Compacted():
            return {"requested": str(cause.requested), "oldest": str(cause.oldest)}
        case FutureCursor() | FutureRevision():
            return {"requested": str(cause.requested), "head": str(cause.head)}
        case EpochMismatch():
            return {"requested": cause.requested, "epoch": cause.current}
        case StaleRead():
            return {"requested": str(cause.requested), "reached": str(cause.reached)}
        case PlanCorrupt():
            return {"planId": cause.plan_id}
        case Forbidden():
            return {"scope": cause.scope}
        case PlacementImpossible():
            return {"violations": [_violation(violation) for violation in cause.violations]}
    return {}


def _violation(violation: Violation) -> Mapping[str, Any]:
    """As the type of that name has it; in queries that could place nothing it is about a namespace."""
    message = encodable(violation.message)
    return {"code": violation.code, "namespace": violation.namespace, "message": message}
