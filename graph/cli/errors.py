"""What a command fails with when its server does: each error, and each code of the API, has an exit code and advice."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from graph.cli.exits import Exit, Failure
from graph.client.errors import AnswerLost, ClientError, NotGraphQL, OperationRefused, ServerUnreachable
from graph.client.token import TokenUnusable

_ANOTHER_VERSION: Final = "This program and the server are of different versions: update the older one."
LIST_NODES: Final = "What nodes there are: omnirelay mesh nodes list"
_LIST_AGAIN: Final = (
    "Read the table again (omnirelay mesh shards list --json) and go on from the cursor that comes with it."
)

_A_GOOD_ONE: Final = (
    "Name a file that holds a good one with --token-file or OMNIRELAY_TOKEN_FILE, or put it into OMNIRELAY_TOKEN."
)
_OTHER_SCOPES: Final = (
    "Whoever issues your tokens can give you one; docs/authorisation.md says which scope allows what."
)

_MEANINGS: Final[Mapping[str, tuple[Exit, Sequence[str]]]] = {
    "UNAUTHENTICATED": (Exit.DENIED, [_A_GOOD_ONE]),
    "FORBIDDEN": (Exit.DENIED, [_OTHER_SCOPES]),
    "INVALID_ARGUMENT": (Exit.INVALID, ()),
    "BAD_CURSOR": (Exit.INVALID, ()),
    "BAD_USER_INPUT": (Exit.INVALID, ()),
    "NOT_FOUND": (Exit.NOT_FOUND, ()),
    "MISDIRECTED": (Exit.UNAVAILABLE, ["The name is the one in --server or OMNIRELAY_SERVER."]),
    "PLACEMENT_IMPOSSIBLE": (Exit.REFUSED, [LIST_NODES]),
    "PAYLOAD_TOO_LARGE": (Exit.INVALID, ["Send less at once (import: --batch-size)."]),
    "COMPACTED": (Exit.POSITION, [_LIST_AGAIN]),
    "EPOCH_MISMATCH": (Exit.POSITION, [_LIST_AGAIN]),
    "FUTURE_CURSOR": (Exit.POSITION, ["Is this the server you think it is? See --server."]),
    "FUTURE_REVISION": (Exit.POSITION, ["Is this the server you think it is? See --server."]),
    "PLAN_CORRUPT": (Exit.REFUSED, ()),
    "OVERLOADED": (Exit.UNAVAILABLE, ()),
    "STALE_READ": (Exit.UNAVAILABLE, ()),
    "TRANSIENT_CONFLICT": (Exit.UNAVAILABLE, ()),
    "UNAVAILABLE": (Exit.UNAVAILABLE, ()),
    "COMMIT_UNKNOWN": (Exit.UNAVAILABLE, ()),
    "FENCED": (Exit.UNAVAILABLE, ()),
    "SCHEMA_OUT_OF_DATE": (Exit.UNAVAILABLE, ()),
    "GRAPHQL_PARSE_FAILED": (Exit.INTERNAL, [_ANOTHER_VERSION]),
    "GRAPHQL_VALIDATION_FAILED": (Exit.INTERNAL, [_ANOTHER_VERSION]),
    "OPERATION_NOT_FOUND": (Exit.INTERNAL, [_ANOTHER_VERSION]),
}


@contextmanager
def failing(if_broken_off: str = "Try again.") -> Iterator[None]:
    """Whatever talking to a server ends with inside is raised as Failure."""
    try:
        yield
    except ClientError as error:
        raise _failure(error, if_broken_off) from error


def _failure(error: ClientError, if_broken_off: str) -> Failure:
    match error:
        case OperationRefused():
            return failure_of(error.errors)
        case ServerUnreachable():
            advice = "Start one with 'omnirelay serve', or say where it is with --server or OMNIRELAY_SERVER."
        case NotGraphQL(busy=True):
            advice = "It may be starting: try again."
        case NotGraphQL():
            advice = "Is that address an OmniRelay server's? See --server."
        case TokenUnusable():
            return Failure(Exit.DENIED, str(error), [_A_GOOD_ONE])
        case AnswerLost():
            advice = if_broken_off
        case _:
            return Failure(Exit.INTERNAL, str(error))
    return Failure(Exit.UNAVAILABLE, str(error), [advice])


def failure_of(errors: Sequence[Mapping[str, Any]]) -> Failure:
    """The failure that the first of GraphQL's errors stands for; what else is wrong is in its advice."""
    first, *rest = errors
    code = (first.get("extensions") or {}).get("code")
    exit_code, advice = _MEANINGS.get(str(code), (Exit.INTERNAL, ()))
    more = [str(error.get("message")) for error in rest]
    return Failure(exit_code, _sentence(first, code), [*more, *advice])


def _sentence(error: Mapping[str, Any], code: object) -> str:
    message = str(error.get("message") or "The server failed without saying why.")
    match _MEANINGS.get(str(code), (None,))[0]:
        case Exit.POSITION:
            return f"{code}: {message}"
        case Exit.DENIED:
            return f"Not allowed: {message}."
    return message
