"""Mutations: the input that all of them have, what they answer beside the store's outcomes, and how one is carried out.

Most are one command for the store's executor, whose outcome is the answer; plans, rollbacks and draining run by
functions of their own.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Final, Protocol, TypeAlias

import strawberry

from graph.auth.principal import Forbidden, Principal, Scope
from graph.execution.authorization import needs
from graph.execution.context import Info
from graph.execution.cost import STATEMENT, costs
from graph.schema.scalars import JSON
from persistence.commands import command, refusals
from persistence.commands.command import Command
from persistence.errors import FieldError, InvalidArgument
from persistence.model.fields import quoted
from persistence.model.outcomes import Outcome
from persistence.model.records import Change, Node
from persistence.planning import planner
from persistence.planning.proposal import Violation
from persistence.planning.what_if import DrainPreflight

CHANGE: Final = "By whom, why, and under which ticket."
"""Of the field `change` of every input."""

UNSET_KEEPS: Final = "Leave it out to keep it as it is."

NULL_CLEARS: Final = "Leave it out to keep it as it is; null clears it."


@strawberry.input(
    description="That a change is to be made past move budgets, the thrash guard, freezes, pins and anti-affinity. "
    "Rules about tickets and approval stay in force."
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
    described = strawberry.argument(description=input_description)

    async def resolve(info: Info, input: Annotated[input_type, described]) -> Answer:  # type: ignore[valid-type] # noqa: A002 - by schema
        try:
            return await run(info, input)
        except InvalidArgument as refused:
            return InvalidInput.of(refused)

    metadata = {**needs(scope), **costs(records)}
    return strawberry.field(resolver=resolve, graphql_type=result, description=description, metadata=metadata)
