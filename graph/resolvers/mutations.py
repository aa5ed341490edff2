"""Changes: every mutation is one command for the store's writer, and its outcome is the answer."""

from contextlib import suppress
from typing import Annotated, Protocol, TypeAlias

import strawberry

from graph.auth.principal import Forbidden, Principal, Scope
from graph.context import Info
from graph.inputs.nodes import RegisterNodeInput, UpdateNodeInput
from graph.inputs.plans import ApplyPlanInput, ApprovePlanInput, RejectPlanInput, StopPlanInput
from graph.inputs.writing import (
    ConfigureNamespaceInput,
    CreateShardsInput,
    DeleteShardsInput,
    UpdateShardInput,
    UpdateShardsInput,
)
from graph.outcomes import InvalidInput
from persistence import refusals
from persistence.commands import Command
from persistence.errors import InvalidArgument
from persistence.outcomes import Outcome

Answer: TypeAlias = Outcome | InvalidInput
_What = strawberry.argument(description="What to change, by whom, and why.")


class _Request(Protocol):
    """An input that stands for a command."""

    def command(self, principal: Principal) -> Command: ...


async def create_shards(info: Info, input: Annotated[CreateShardsInput, _What]) -> Answer:  # noqa: A002 - by schema
    return await _execute(info, input)


async def update_shard(info: Info, input: Annotated[UpdateShardInput, _What]) -> Answer:  # noqa: A002 - by schema
    return await _execute(info, input)


async def update_shards(info: Info, input: Annotated[UpdateShardsInput, _What]) -> Answer:  # noqa: A002 - by schema
    return await _execute(info, input)


async def delete_shards(info: Info, input: Annotated[DeleteShardsInput, _What]) -> Answer:  # noqa: A002 - by schema
    return await _execute(info, input)


async def configure_namespace(
    info: Info,
    input: Annotated[ConfigureNamespaceInput, _What],  # noqa: A002 - by schema
) -> Answer:
    return await _execute(info, input)


async def register_node(info: Info, input: Annotated[RegisterNodeInput, _What]) -> Answer:  # noqa: A002 - by schema
    return await _execute(info, input)


async def update_node(info: Info, input: Annotated[UpdateNodeInput, _What]) -> Answer:  # noqa: A002 - by schema
    return await _execute(info, input)


async def apply_plan(info: Info, input: Annotated[ApplyPlanInput, _What]) -> Answer:  # noqa: A002 - by schema
    return await _execute(info, input)


async def approve_plan(info: Info, input: Annotated[ApprovePlanInput, _What]) -> Answer:  # noqa: A002 - by schema
    return await _execute(info, input)


async def reject_plan(info: Info, input: Annotated[RejectPlanInput, _What]) -> Answer:  # noqa: A002 - by schema
    return await _execute(info, input)


async def stop_plan(info: Info, input: Annotated[StopPlanInput, _What]) -> Answer:  # noqa: A002 - by schema
    return await _execute(info, input)


async def _execute(info: Info, request: _Request) -> Answer:
    try:
        return await info.context.writer.execute(request.command(info.context.principal))
    except InvalidArgument as refused:
        return InvalidInput.of(refused)
    except Forbidden as forbidden:
        await _keep_attempt(info, request, forbidden.scope)
        raise


async def _keep_attempt(info: Info, request: _Request, missing: Scope) -> None:
    """An auditor wants to know who tried to get past a rule. What is malformed beside that is not kept, as ever."""
    with suppress(InvalidArgument):
        attempted = request.command(info.context.principal.supposing(missing))
        await info.context.writer.keep_forbidden(attempted, refusals.Forbidden(missing))
