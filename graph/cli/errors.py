"""How commands fail: exit codes, the failure that carries one, and what becomes one.

Every error of a client, every code of the API and every refusal of the store has an exit code, a message and advice.
`ApiClient` is the client that commands use: it fails with these.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Self

import click

from graph.cli.output import made_by, print_status, printable
from graph.client.credentials import TokenUnusable
from graph.client.errors import (
    AnswerLost,
    AnswerMalformed,
    ClientError,
    ConnectionLost,
    NotGraphQL,
    OperationRefused,
    ProtocolBroken,
    ServerUnreachable,
)
from graph.client.http import Requests
from graph.client.records import Json
from persistence.model.outcomes import stale_planned_message
from persistence.model.policy import broken_rule_message

LIST_NAMESPACES: Final = "What namespaces there are: omnirelay mesh namespaces list"

LIST_NODES: Final = "What nodes there are: omnirelay mesh nodes list"

LIST_PLANS: Final = "Which plans there are: omnirelay mesh rebalance list"

UPDATE_THE_OLDER: Final = "This program and the server are of different versions: update the older one."

_LIST_ANEW: Final = (
    "Read the table again (omnirelay mesh shards list --json) and go on from the cursor that comes with it."
)

_GIVE_A_GOOD_ONE: Final = (
    "Name a file that holds a good one with --token-file or OMNIRELAY_TOKEN_FILE, or put it into OMNIRELAY_TOKEN."
)

_OTHER_SCOPES: Final = (
    "Whoever issues your tokens can give you one; docs/authorisation.md says which scope allows what."
)

_UPPER: Final = re.compile("([A-Z])")

_OPTIONS: Final = {
    "owner_node_id": "owner",
    "leader_id": "leader",
    "capacity_hint": "capacity",
    "locality_hint": "locality",
    "anti_affinity_group": "group",
    "change_ticket": "ticket",
    "labels": "label",
}
"""Options by the field that they set, where they are called otherwise."""

_LISTED: Final = 20
"""Details of a refusal that are printed."""

_NOT_THERE: Final = re.compile(r"(there is no (namespace|node|plan) .+); (?:d(id you mean .+\?)|\w+ \w+ one)")
"""As the API has it. Null for the third group where it goes on with the mutation that would make one."""

_NO_SHARD: Final = re.compile(r"there is no shard ([^/ ]+)/.+")

_LISTS: Final = {"namespace": LIST_NAMESPACES, "node": LIST_NODES, "plan": LIST_PLANS}

_OF_PLANNING: Final = re.compile(
    r"^(vacate|zones|regions|onlyReasons|maxMoves|threshold|changeId|sinceRevision)(?:\[\d+\])?(?=:? )"
)
"""A field of the input of plans, simulations and rollbacks, at the beginning of what is wrong with it."""

_PLANNING_OPTIONS: Final = {
    "vacate": "--vacate",
    "zones": "--zone",
    "regions": "--region",
    "onlyReasons": "--only",
    "maxMoves": "--max-moves",
    "threshold": "--threshold",
    "changeId": "--of-change",
    "sinceRevision": "--since",
}


class Exit(IntEnum):
    """The exit codes there are. docs/cli.md lists them with their meaning; a test compares the two."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = 0, "Done."
    NO = (
        1,
        "The answer is no: `diff --exit-code` or `status` found something, a check failed, a server did not start.",
    )
    INVALID = 2, "Wrong usage or invalid input. Nothing was written by the request that was refused."
    REFUSED = (
        3,
        "Refused: a version conflict, something in the way, a policy, or another request's idempotency key.",
    )
    NOT_FOUND = 4, "What the command names is not there."
    UNAVAILABLE = 5, "The server or the database cannot be reached, or cannot answer just now. Try again."
    POSITION = (
        6,
        "A place in the stream cannot be served: COMPACTED, EPOCH_MISMATCH, FUTURE_CURSOR, FUTURE_REVISION.",
    )
    DENIED = 7, "The server requires a token, does not take the one it got, or that does not allow this."
    OTHER_VERSION = 8, "The server speaks otherwise than this program: one of them is older, or it is another program."
    INTERNAL = 70, "A defect, here or in the server. Report it."
    INTERRUPTED = 130, "Interrupted by Ctrl-C. `watch` and `serve` end with 0 then: that is how they are stopped."
    PIPE_CLOSED = 141, "The reader of the output stopped reading, as `head` does."


@dataclass
class Failure(Exception):
    """Ends a command: what happened, to what, and then what to do about it.

    `document` is what the API answered with a refusal. `is_written`: in JSON there is no more to say, each item that
    failed has been written with why.
    """

    exit: Exit
    message: str
    advice: Sequence[str] = ()
    document: Json | None = None
    is_written: bool = False

    def as_json(self) -> Json:
        """What is written where JSON is wanted."""
        if self.document is not None:
            return self.document
        advice = [line.strip() for line in self.advice]
        return {
            "error": {"code": self.exit.name, "exitCode": int(self.exit), "message": self.message, "advice": advice}
        }

    def __str__(self) -> str:
        return "\n".join([self.message, *self.advice])


class PipeClosed(Exception):
    """The reader of the output has closed it."""


_MEANINGS: Final[Mapping[str, tuple[Exit, Sequence[str]]]] = {
    "UNAUTHENTICATED": (Exit.DENIED, [_GIVE_A_GOOD_ONE]),
    "FORBIDDEN": (Exit.DENIED, [_OTHER_SCOPES]),
    "INVALID_ARGUMENT": (Exit.INVALID, ()),
    "BAD_CURSOR": (Exit.INVALID, ()),
    "BAD_USER_INPUT": (Exit.INVALID, ()),
    "NOT_FOUND": (Exit.NOT_FOUND, ()),
    "MISDIRECTED": (Exit.UNAVAILABLE, ["The name is the one in --server or OMNIRELAY_SERVER."]),
    "PLACEMENT_IMPOSSIBLE": (Exit.REFUSED, [LIST_NODES]),
    "PAYLOAD_TOO_LARGE": (Exit.INVALID, ["Send less at once (import: --batch-size)."]),
    "COMPACTED": (Exit.POSITION, [_LIST_ANEW]),
    "EPOCH_MISMATCH": (Exit.POSITION, [_LIST_ANEW]),
    "FUTURE_CURSOR": (Exit.POSITION, ["Is this the server you think it is? See --server."]),
    "FUTURE_REVISION": (Exit.POSITION, ["Is this the server you think it is? See --server."]),
    "PLAN_CORRUPT": (Exit.REFUSED, ()),
    "OVERLOADED": (Exit.UNAVAILABLE, ()),
    "LOCKED": (Exit.UNAVAILABLE, ()),
    "STALE_READ": (Exit.UNAVAILABLE, ()),
    "TRANSIENT_CONFLICT": (Exit.UNAVAILABLE, ()),
    "UNAVAILABLE": (Exit.UNAVAILABLE, ()),
    "COMMIT_UNKNOWN": (Exit.UNAVAILABLE, ()),
    "FENCED": (Exit.UNAVAILABLE, ()),
    "SCHEMA_OUT_OF_DATE": (Exit.UNAVAILABLE, ()),
    "GRAPHQL_PARSE_FAILED": (Exit.OTHER_VERSION, [UPDATE_THE_OLDER]),
    "GRAPHQL_VALIDATION_FAILED": (Exit.OTHER_VERSION, [UPDATE_THE_OLDER]),
    "OPERATION_NOT_FOUND": (Exit.OTHER_VERSION, [UPDATE_THE_OLDER]),
}


@contextmanager
def failing(if_broken_off: str = "Try again.") -> Iterator[None]:
    """Raises a ClientError from inside as Failure. `if_broken_off`: advice if a request was sent and no answer came."""
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
        case NotGraphQL(between=True):
            advice = (
                "A proxy in between may not let this host or this caller through: name the server as the proxy knows "
                "it (--server), or go around the proxy of the environment with NO_PROXY."
            )
        case NotGraphQL():
            advice = "Is that address an OmniRelay server's? See --server."
        case TokenUnusable():
            return Failure(Exit.DENIED, str(error), [_GIVE_A_GOOD_ONE])
        case AnswerLost():
            advice = if_broken_off
        case ConnectionLost():
            advice = "Try again."
        case AnswerMalformed() | ProtocolBroken():
            advice = "Is that address an OmniRelay server's? See --server. " + UPDATE_THE_OLDER
            return Failure(Exit.OTHER_VERSION, str(error), [advice])
        case _:
            return Failure(Exit.INTERNAL, str(error))
    return Failure(Exit.UNAVAILABLE, str(error), [advice])


def failure_of(errors: Sequence[Mapping[str, Any]]) -> Failure:
    """The failure that the first of GraphQL's errors stands for; what else is wrong is in its advice."""
    first = OperationRefused(errors)
    exit_code, advice = _MEANINGS.get(first.code, (Exit.INTERNAL, ()))
    message, how_to_find_it = _as_typed(str(first))
    if exit_code is Exit.POSITION:
        message = f"{first.code}: {message}"
    elif exit_code is Exit.DENIED:
        # What is forbidden is a field of the API, or to force something.
        what, needs, scope = message.partition(" needs a token with the scope ")
        message = f"Not allowed: {'this' if needs and what != 'force' else what}{needs}{scope}."
    elif how_to_find_it:
        message = f"{message[0].upper()}{message[1:]}."
    return Failure(exit_code, message, [*(str(error.get("message")) for error in errors[1:]), *how_to_find_it, *advice])


def _as_typed(message: str) -> tuple[str, Sequence[str]]:
    """A message of the API with the options of commands in place of its own words; and, of what is not there, what
    may have been meant and how to list what there is."""
    if (shard := _NO_SHARD.fullmatch(message)) is not None:
        command = ["omnirelay", "mesh", "shards", "list", "--namespace", shard[1]]
        return message, [f"What there is: {shlex.join(command)}"]
    missing = _NOT_THERE.fullmatch(message)
    if missing is None:
        return _OF_PLANNING.sub(lambda field: _PLANNING_OPTIONS[field[1]], message), ()
    what, thing, meant = missing.groups()
    return what, [*([f"D{meant}"] if meant else ()), _LISTS[thing]]


_COMMITTED: Final = (
    *("ShardsChanged", "NamespaceConfigured"),
    *("NodeChanged", "NodeDrained", "PlanProposed", "PlanApplied", "PlanChanged"),
)

_EXITS: Final = {"NotFound": Exit.NOT_FOUND, "InvalidInput": Exit.INVALID}


def committed(answer: Json, advice: Sequence[str] = ()) -> Json:
    """The answer, if the change was made. Raises Failure, which ends with `advice`, if it was refused.

    Prints what the server warns of, on stderr.
    """
    if answer["__typename"] not in _COMMITTED:
        raise refused(answer, advice)
    print_warnings(answer.get("warnings", ()))
    return answer


def print_warnings(warnings: Iterable[Json]) -> None:
    for warning in warnings:
        message = printable(warning["message"])
        print_status(f"Warning: {message}" + ("" if message.endswith("?") else "."))


def refused(answer: Json, advice: Sequence[str] = ()) -> Failure:
    """A refusal as a failure: its message, which is about the first detail; all details if there are more; `advice`."""
    details = _details(answer)
    rest = len(details) - _LISTED + answer.get("omitted", 0)
    more = [f"  and {rest:,} more"] if rest > 0 else []
    message, how_to_find_it = _as_typed(_in_options(answer["message"], answer.get("errors", ())))
    return Failure(
        _EXITS.get(answer["__typename"], Exit.REFUSED),
        f"Refused: {message}.",
        [*(details[:_LISTED] if len(details) > 1 else ()), *more, *how_to_find_it, *advice],
        answer,
    )


def _in_options(message: str, errors: Sequence[Json]) -> str:
    """The message, which begins with the field of the first error, with the option that it was given by."""
    field = errors[0]["field"] if errors else ""
    return _option_of(field) + message.removeprefix(field) if field and message.startswith(field) else message


def _option_of(field: str) -> str:
    """What sets a field of the API in the command under way; the field itself where nothing does, as in a file."""
    context = click.get_current_context(silent=True)
    name = _UPPER.sub(r"_\1", field.rpartition(".")[2].partition("[")[0]).lower()
    for parameter in [] if context is None else context.command.params:
        if isinstance(parameter, click.Option) and parameter.name in (name, _OPTIONS.get(name)):
            return parameter.opts[-1]
    return field


def _details(answer: Json) -> list[str]:
    """A line for everything that is in the way, with the change behind it if that is known."""
    of_plan = answer["__typename"] == "StalePlan"
    details = [_stale(conflict, numbered=of_plan) for conflict in answer.get("conflicts", ())]
    if of_plan:
        details += [_stale_planned("namespace", one["name"], one) for one in answer["namespaceConflicts"]]
        details += [_stale_planned("node", one["nodeId"], one) for one in answer["nodeConflicts"]]
    details += [_as_typed(f"{_option_of(error['field'])} {error['message']}")[0] for error in answer.get("errors", ())]
    violations = answer.get("violations") or answer.get("preflight", {}).get("blockers", ())
    details += [_violation(violation) for violation in violations]
    return [f"  {detail}" for detail in details]


def _stale_planned(what: str, name: str, conflict: Json) -> str:
    change = conflict["lastChange"]
    return stale_planned_message(
        what,
        printable(name),
        int(conflict["expectedVersion"]),
        int(conflict["actualVersion"]),
        [(field["name"], field["previous"], field["current"]) for field in conflict["changedFields"]],
        change and f"by {made_by(change)}, change {change['id']}",
    )


def _stale(conflict: Json, *, numbered: bool = False) -> str:
    """`numbered`: with the id of the change."""
    name = f"{conflict['namespace']}/{conflict['shardId']}"
    change = conflict.get("lastChange")
    number = f", change {change['id']}" if change and numbered else ""
    by = f": by {made_by(change)}{number}" if change else ""
    if conflict["actualVersion"] == "0":
        return f"{name} is gone{by}"
    fields = ", ".join(conflict.get("changedFields", ()))
    at = f"{name} is at version {conflict['actualVersion']}, not {conflict['expectedVersion']}"
    return f"{at} ({fields}){by}" if fields else f"{at}{by}"


def _violation(violation: Json) -> str:
    """A broken rule of a policy; or a problem of a plan, whose message names the shard, but not a namespace."""
    if "rule" in violation:
        names = ("rule", "namespace", "shardId", "actual", "allowed", "remedy")
        return broken_rule_message(*(violation[name] for name in names))
    about = "" if violation["shardId"] else f"{violation['namespace']}: "
    return f"{about}{violation['message']}"


class ApiClient(Requests):
    """Requests to one server. Used as a context manager; whatever goes wrong is raised as Failure."""

    def execute(self, name: str, variables: Json | None = None) -> Json:
        """The data that a query answers with. Raises Failure."""
        with failing():
            return super().execute(name, variables)

    def change(self, name: str, given: Json, **variables: object) -> Json:
        """What a mutation answers, committed or refused: a member of its result's union. Raises Failure."""
        with failing("Whether the change was made is not known: look before you try again."):
            (answer,) = super().execute(name, {"input": given, **variables}).values()
            if not isinstance(answer, dict):
                raise AnswerMalformed("it is null")
        return answer


def newest_revision(api: ApiClient) -> int:
    return int(api.execute("StreamHead")["head"]["revision"])
