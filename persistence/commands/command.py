"""What all commands have in common: the change that they request, and the digest that identifies a request."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Protocol

from persistence.commands.read_state import ReadSet
from persistence.model.fields import (
    Check,
    Problems,
    canonical_json,
    json_problem,
    line_problem,
    stored_text_problem,
    text_problem,
)
from persistence.model.records import ChangeKind

TRACE_ID: Final = "traceId"
"""The member of a change's metadata that names the trace it was made in."""


class Unset(Enum):
    """Of a field that a patch leaves as it is; null is a value and clears it."""

    UNSET = "UNSET"

    # An enum's own is a call in Python, and validation hashes ten thousands of them.
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET

NOT_NULL: Final = "must not be null; leave it out to keep it as it is"

NOT_DIGESTED_WHEN_NULL: Final[Mapping[str, bool]] = MappingProxyType({"digested_when_null": False})
"""Of a field that came later: requests without it have the digest they had, and so do their retries."""


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """Actor, reason and ticket of a change. Retries with the same `idempotency_key` get the first answer.

    `forced` is why the rules of a policy that can be forced shall not hold for it. `trace_id` is that of the caller's
    trace (32 hex digits): a retry is the same request in another trace.
    """

    actor: str
    reason: str
    change_ticket: str | None = None
    metadata: Any = None
    idempotency_key: str | None = None
    forced: str | None = field(default=None, metadata=NOT_DIGESTED_WHEN_NULL)
    trace_id: str | None = field(default=None, compare=False)

    @property
    def kept_metadata(self) -> Any:
        """What is kept with the change: the metadata, with the trace's id as `traceId` where that is free and fits."""
        given = {} if self.metadata is None else self.metadata
        if self.trace_id is None or not isinstance(given, dict) or TRACE_ID in given:
            return self.metadata
        traced = {**given, TRACE_ID: self.trace_id}
        return traced if json_problem(traced) is None else self.metadata

    def validate(self) -> None:
        """For a change that no command makes. Raises InvalidArgument naming every field that breaks a rule."""
        problems = Problems()
        self.add_problems(problems)
        problems.raise_if_any()

    def add_problems(self, problems: Problems) -> None:
        given: list[Check] = [
            ("change.changeTicket", line_problem, self.change_ticket),
            ("change.metadata", json_problem, self.metadata),
            ("change.idempotencyKey", _key_problem, self.idempotency_key),
            ("change.force.reason", text_problem, self.forced),
        ]
        problems.check(
            [
                ("change.actor", line_problem, self.actor),
                ("change.reason", text_problem, self.reason),
                *(check for check in given if check[2] is not None),
            ]
        )


_key_problem: Final = partial(stored_text_problem, limit=255)


class Command(Protocol):
    """One request to change the store, executed as one unit of work."""

    @property
    def change(self) -> ChangeRequest: ...

    @property
    def kind(self) -> ChangeKind: ...

    @property
    def reads(self) -> ReadSet:
        """What it is decided on, and what must not change before it is committed."""
        ...

    def add_problems(self, problems: Problems) -> None: ...


def request_digest(command: Command) -> bytes:
    """SHA-256 of all of the request: distinguishes a retry from another request under the same idempotency key."""
    return hashlib.sha256(canonical_json({"kind": command.kind, "request": _plain(command)}).encode()).digest()


def _plain(value: Any) -> Any:
    if isinstance(value, (str, int, float)) or value is None:
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if (digested := getattr(value, "digested", None)) is not None:
        return {name: _plain(member) for name, member in digested().items() if member is not UNSET}
    if is_dataclass(value):
        members = ((member, getattr(value, member.name)) for member in fields(value) if member.compare)
        return {member.name: _plain(given) for member, given in members if _is_digested(member, given)}
    if isinstance(value, Mapping):
        return {name: _plain(member) for name, member in value.items()}
    return [_plain(member) for member in value]


def _is_digested(member: Field[Any], given: object) -> bool:
    return given is not UNSET and (given is not None or member.metadata != NOT_DIGESTED_WHEN_NULL)
