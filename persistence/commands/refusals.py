"""What is stored of a request that was refused: actor, request and answer; bounded, whatever they held.

Stored are the refusals of `model/outcomes.py`, and requests that were not executed because the caller lacks the right
to force. Malformed input is not: it is refused before anything is decided, and what would be stored of it may be the
very thing that is wrong. Nor are faults, which are no fact about the request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from persistence.codec import hash_chain
from persistence.commands.command import UNSET, Command, request_digest
from persistence.commands.shards import NewShard, ShardExpectation, ShardPatch
from persistence.model.fields import canonical_json
from persistence.model.outcomes import StalePlanned
from persistence.model.plans import RebalancePlan
from persistence.model.records import Change, ChangeKind, Namespace, Node, Shard, ShardKey

MAX_DOCUMENT: Final = 4_096
"""Of what is stored of a request or an answer, written as JSON, in characters."""

SHOWN_ITEMS: Final = 10
"""Of each list in them."""

BURST: Final = 200

EACH_SECOND: Final = 1.0


@dataclass(frozen=True, slots=True)
class Forbidden:
    """Refused before it was decided: the caller lacks `scope`."""

    scope: str


@dataclass(frozen=True, slots=True)
class RefusalWrite:
    """A refusal to be stored, complete but for its id, time and hash. `request` and `details` are canonical JSON."""

    kind: ChangeKind
    actor: str
    reason: str
    change_ticket: str | None
    namespaces: tuple[str, ...]
    outcome: str
    request_digest: bytes
    request: str
    details: str
    left_out: int

    @property
    def content_digest(self) -> bytes:
        return hash_chain.refusal_digest(
            self.kind,
            self.actor,
            self.reason,
            self.change_ticket,
            self.outcome,
            self.request_digest,
            self.request,
            self.details,
            self.left_out,
            self.namespaces,
        )


class TokenBucket:
    """How many refusals a process stores: `BURST` at once, and `EACH_SECOND` from then on.

    A client that repeats a refused request in a loop must not fill the disk. What is not stored is counted.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left = float(BURST)
        self._refilled_at = clock()
        self._left_out = 0

    def take(self) -> int | None:
        """How many were left out since the last one that was stored; null if this one is left out too."""
        now = self._clock()
        self._left = min(float(BURST), self._left + (now - self._refilled_at) * EACH_SECOND)
        self._refilled_at = now
        if self._left < 1:
            self._left_out += 1
            return None
        self._left -= 1
        left_out, self._left_out = self._left_out, 0
        return left_out


def refusal_of(command: Command, outcome: object, left_out: int) -> RefusalWrite:
    """What is stored of `command` and the outcome that refused it."""
    change = command.change
    return RefusalWrite(
        command.kind,
        change.actor,
        change.reason,
        change.change_ticket,
        _namespaces(command, outcome),
        type(outcome).__name__,
        request_digest(command),
        _bounded(_extract(_without_change(command))),
        _bounded(_extract(outcome)),
        left_out,
    )


def _namespaces(command: Command, outcome: object) -> tuple[str, ...]:
    """Of the request; a plan's are known only where it was found."""
    plan = getattr(outcome, "plan", None)
    known = plan.namespaces if isinstance(plan, RebalancePlan) else ()
    return tuple(sorted({*command.reads.namespaces, *known}))


def _without_change(command: Command) -> Mapping[str, Any]:
    """Actor and reason are stored beside it."""
    request: Any = command  # every command is a dataclass, which a Protocol cannot express
    return {field.name: getattr(command, field.name) for field in fields(request) if field.name != "change"}


def _extract(value: Any) -> Any:  # noqa: C901, PLR0911, PLR0912 - one answer for each kind of value
    """JSON with the beginning of each list and how long it is; records by what identifies them."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return str(value)
        case bytes():
            return value.hex()
        case datetime():
            return value.isoformat()
        case ShardKey():
            return {"namespace": value.namespace, "shardId": value.shard_id}
        case Change():
            return {"id": str(value.id)}
        case RebalancePlan():
            return {"id": value.id, "status": str(value.status)}
        case Shard() | Namespace() | Node():
            return {"version": value.version}
        case StalePlanned():
            return {"name": value.name, "expected": value.expected, "actual": value.actual}
        case Mapping():
            return _members(value)
        case NewShard() | ShardPatch() | ShardExpectation():
            return _members(value._asdict())
        case Sequence():
            return [_extract(item) for item in value[:SHOWN_ITEMS]]
        case _:
            return _members({field.name: getattr(value, field.name) for field in fields(value)})


def _members(value: Mapping[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, member in value.items():
        if member is UNSET:
            continue
        key = _camel_case(name)
        document[key] = _extract(member)
        if isinstance(member, list | tuple) and not isinstance(member, ShardKey) and len(member) > SHOWN_ITEMS:
            document[f"{key}Count"] = len(member)
    return document


def _bounded(document: Any) -> str:
    text = canonical_json(document)
    if len(text) <= MAX_DOCUMENT:
        return text
    return canonical_json({"omittedCharacters": len(text)})


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.title, rest))
