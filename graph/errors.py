"""What a client may learn of an error: a stable code, a message, and the numbers that help.

Refusals the API documents are passed on. Anything else is a defect or the weather: it is logged here, once, with the
request id, and the client gets that id and nothing more. The codes are listed in docs/graphql-api.md.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

from graphql import GraphQLError, GraphQLSyntaxError
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError

from graph.auth.principal import Forbidden, Unauthenticated
from graph.codes import Code
from graph.refusals import not_found
from persistence.errors import (
    Compacted,
    EpochMismatch,
    FutureCursor,
    FutureRevision,
    InvalidArgument,
    PlanCorrupt,
    PositionUnavailable,
    StaleRead,
    StoreUnavailable,
    TransientConflict,
)
from persistence.outcomes import NotFound
from persistence.planning.planner import PlacementImpossible
from persistence.planning.proposal import Violation

_MAX_MESSAGE: Final = 2_000
_log = logging.getLogger(__name__)


class Missing(Exception):
    """A query names something that is not there, and its answer cannot be null."""

    def __init__(self, outcome: NotFound) -> None:
        super().__init__(not_found(outcome))


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
    if isinstance(cause, StoreUnavailable | TransientConflict):
        _log.warning("request %s: %s: %s", request_id, cause.code, cause)
        code, message = cause.code, _TRY_AGAIN[cause.code]
    else:
        _log.error("request %s failed", request_id, exc_info=cause)
        code, message = Code.INTERNAL, f"Internal error; report request id {request_id}."
    reworded = GraphQLError(message, error.nodes, error.source, error.positions, error.path)
    return coded(reworded, code, requestId=request_id)


_TRY_AGAIN: Final = {
    StoreUnavailable.code: (
        "The store cannot be reached just now. Try again shortly; whether a change under way was committed is unknown, "
        "which an idempotency key makes harmless."
    ),
    TransientConflict.code: "Too many changes met on the same shards; nothing was written. Try again shortly.",
}


def _public_code(cause: BaseException, error: GraphQLError) -> str | None:  # noqa: PLR0911 - one for each kind
    """The code of an error whose message is meant for the client, else none."""
    match cause:
        case InvalidArgument() | PositionUnavailable() | StaleRead() | PlanCorrupt():
            return cause.code
        case Missing():
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
    """What was raised, under the layers that say where."""
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
            return {"requested": str(cause.wanted), "reached": str(cause.reached)}
        case PlanCorrupt():
            return {"planId": cause.plan_id}
        case Forbidden():
            return {"scope": cause.scope}
        case PlacementImpossible():
            return {"violations": [_violation(violation) for violation in cause.violations]}
    return {}


def _violation(violation: Violation) -> Mapping[str, Any]:
    """As the type of that name shows one; in queries that could place nothing it is about a namespace."""
    message = encodable(violation.message)
    return {"code": violation.code, "namespace": violation.namespace, "message": message}
