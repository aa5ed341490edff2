"""Mutations: the input that all of them have, what they answer beside the store's outcomes, and how one is carried out.

Most are one command for the store's executor, whose outcome is the answer; plans, rollbacks and draining run by
functions of their own.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Final, Protocol, TypeAlias

import strawberry

from graph.auth.principal import Forbidden, Principal, Scope
from graph.execution.authorization import needs
from graph.execution.context import Info
from graph.execution.cost import STATEMENT, costs
from graph.execution.errors import Code
from graph.execution.outcomes import current_record
from graph.logs import log
from graph.schema.scalars import JSON
from persistence.commands import command, refusals
from persistence.commands.command import Command
from persistence.errors import FieldError, InvalidArgument
from persistence.model.fields import quoted
from persistence.model.outcomes import (
    AdmissionWarning,
    IdempotencyKeyReused,
    Outcome,
    PolicyViolation,
    StaleNamespace,
    StaleNode,
    StalePlan,
    VersionConflict,
)
from persistence.model.records import Change, Node
from persistence.planning import planner
from persistence.planning.proposal import Violation
from persistence.planning.what_if import DrainPreflight

CHANGE: Final = "By whom, why, and under which ticket."
"""Of the field `change` of every input."""

UNSET_KEEPS: Final = "Leave it out to keep it as it is."

NULL_CLEARS: Final = "Leave it out to keep it as it is; null clears it."

_log = logging.getLogger(__name__)


@strawberry.input(
    description="That a change is to be made past move budgets, the thrash guard, freezes, pins and anti-affinity, or "
    "although it leaves a namespace without a placement. Rules about tickets and approval stay in force."
)
class ForceInput:
    reason: str = strawberry.field(
        description="Why. Kept with the change for good. Not blank, at most 1,024 characters."
    )


@strawberry.input(description="By whom, why, and under which ticket.")
class ChangeInput:
    reason: str = strawberry.field(description="Why. Not blank, at most 1,024 characters.")
    change_ticket: str | None = strawberry.field(default=None, description="The ticket. At most 1,024 characters.")
    actor: str | None = strawberry.field(
        default=None,
        description=(
            "Who is responsible. Required while the server has no authentication, at most 1,024 characters; with it, "
            "it is the subject of the token and may be left out."
        ),
    )
    metadata: JSON | None = strawberry.field(
        default=None, description="Anything to be kept with the change. At most 1,024 characters when written as JSON."
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description=(
            "Names this request, at most 255 characters: send it again with the same key and it is carried out once, "
            "with the same answer."
        ),
    )
    force: ForceInput | None = strawberry.field(
        default=None, description="Given where rules of a policy that can be forced shall not hold for this change."
    )

    def request(self, principal: Principal) -> command.ChangeRequest:
        """Raises InvalidArgument without an actor where there is no authentication, and for an actor other than the
        subject where there is; Forbidden for `force` without the scope for it."""
        actor = self.actor if principal.subject is None else principal.subject
        if actor is None:
            raise InvalidArgument(
                FieldError("change.actor", "is required: without authentication the request must say who makes it")
            )
        if self.actor is not None and self.actor != actor:
            raise InvalidArgument(
                FieldError("change.actor", f"must be the token's subject or left out, not {quoted(self.actor)}")
            )
        if self.force is not None:
            principal.require(Scope.ADMIN, "force")
        return command.ChangeRequest(
            actor,
            self.reason,
            self.change_ticket,
            self.metadata,
            self.idempotency_key,
            None if self.force is None else self.force.reason,
            None if (record := current_record()) is None else record.trace_id,
        )


def set_or_unset(value: Any) -> Any:
    """What was left out of the request is left alone by the store; null is a value."""
    return command.UNSET if value is strawberry.UNSET else value


@dataclass(frozen=True, slots=True)
class InvalidInput:
    """InvalidArgument as a value: GraphQL takes a returned exception for a raised one."""

    errors: tuple[FieldError, ...]

    @classmethod
    def of(cls, refused: InvalidArgument) -> "InvalidInput":
        return cls(refused.errors)


@dataclass(frozen=True, slots=True)
class PlacementImpossible:
    """The planner's exception as a value, for the same reason."""

    violations: tuple[Violation, ...]

    @classmethod
    def of(cls, impossible: planner.PlacementImpossible) -> "PlacementImpossible":
        return cls(impossible.violations)


@dataclass(frozen=True, slots=True)
class NodeDrained:
    """The node is being drained; `preflight` was made right before."""

    change: Change
    node: Node
    preflight: DrainPreflight
    replayed: bool
    warnings: tuple[AdmissionWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class DrainBlocked:
    """Nothing was written: shards of the node would have to stay."""

    preflight: DrainPreflight


Answer: TypeAlias = Outcome | InvalidInput | PlacementImpossible | NodeDrained | DrainBlocked


class CommandInput(Protocol):
    """An input that stands for a command."""

    def command(self, principal: Principal) -> Command: ...


async def execute(info: Info, request: CommandInput) -> Answer:
    """Raises InvalidArgument, and Forbidden, of which a record is made."""
    try:
        return await info.context.services.writer.execute(request.command(info.context.principal))
    except Forbidden as forbidden:
        # An audit has to show attempts to get past a rule. What is malformed beside that is not recorded, as elsewhere.
        with suppress(InvalidArgument):
            attempted = request.command(info.context.principal.supposing(forbidden.scope))
            await info.context.services.writer.store_forbidden(attempted, refusals.Forbidden(forbidden.scope))
        raise


def mutation(
    input_type: type,
    result: object,
    description: str,
    *,
    scope: Scope = Scope.OPERATE,
    run: Callable[[Info, Any], Awaitable[Answer]] = execute,
    input_description: str = "What to change, by whom, and why.",
    records: int = STATEMENT,
) -> Any:
    """A field of the mutation type. `run` makes the answer of the input, and may raise InvalidArgument. It
    counts as so many `records`, beside the shards that it changes."""
    argument = strawberry.argument(description=input_description)

    async def resolve(info: Info, input: Annotated[input_type, argument]) -> Answer:  # type: ignore[valid-type] # noqa: A002 - by schema
        answer: Answer
        try:
            answer = await run(info, input)
        except InvalidArgument as refused:
            answer = InvalidInput.of(refused)
        except Forbidden as forbidden:
            # Counted where it is published, as an error.
            described = {"code": Code.FORBIDDEN, "scope": forbidden.scope, "actor": info.context.principal.subject}
            log(_log, logging.INFO, "refusal", {**described, **_origin(info)})
            raise
        _report(info, input, answer)
        return answer

    metadata = {**needs(scope), **costs(records)}
    return strawberry.field(resolver=resolve, graphql_type=result, description=description, metadata=metadata)


_CONFLICTS: Final = (VersionConflict, StaleNamespace, StaleNode, StalePlan)

_SHOWN: Final = 200
"""Characters of a reason, in the log."""


def _report(info: Info, request: Any, answer: Answer) -> None:
    """Log and count the change that was made, or why none was."""
    change = getattr(answer, "change", None)
    if not isinstance(change, Change) or isinstance(answer, IdempotencyKeyReused):
        rules = sorted({broken.rule for broken in answer.violations}) if isinstance(answer, PolicyViolation) else []
        _report_refusal(info, request, type(answer).__name__, rules, is_conflict=isinstance(answer, _CONFLICTS))
        return
    replayed, record = getattr(answer, "replayed", False), current_record()
    if record is not None and not replayed:
        record.metrics.changes.labels(change.kind).inc()
    if not _log.isEnabledFor(logging.INFO):
        return
    described = {
        "id": change.id,
        "kind": change.kind,
        "actor": change.actor,
        "reason": change.reason[:_SHOWN],
        "ticket": change.change_ticket,
        "namespaces": len(change.namespaces),
        "first_revision": change.first_revision,
        "last_revision": change.last_revision,
        "forced": None if change.forced is None else True,
        "replayed": replayed or None,
    }
    log(_log, logging.INFO, "change", {**described, **_origin(info)})


def _report_refusal(info: Info, request: Any, code: str, rules: Sequence[str], *, is_conflict: bool = False) -> None:
    record = current_record()
    if record is not None:
        record.refused(code, rules, is_conflict=is_conflict)
    actor = info.context.principal.subject or request.change.actor
    log(_log, logging.INFO, "refusal", {"code": code, "rules": rules or None, "actor": actor, **_origin(info)})


def _origin(info: Info) -> dict[str, Any]:
    record = current_record()
    given = None if record is None else record.trace_id
    return {
        "request_id": info.context.request_id,
        "trace_id": given or info.context.services.tracer.trace_id(),
    }
