"""Changes: every mutation is one command for the store's writer, and its outcome is the answer."""

from typing import Annotated, TypeAlias

import strawberry

from graph.context import Info
from graph.inputs.writing import (
    ConfigureNamespaceInput,
    CreateShardsInput,
    DeleteShardsInput,
    UpdateShardInput,
    UpdateShardsInput,
)
from graph.refusals import InvalidInput
from persistence.errors import InvalidArgument
from persistence.outcomes import Outcome, StaleNamespace, VersionConflict

Answer: TypeAlias = Outcome | StaleNamespace | InvalidInput
_What = strawberry.argument(description="What to change, by whom, and why.")


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
    answer = await _execute(info, input)
    if isinstance(answer, VersionConflict) and answer.stale_namespace is not None:
        return answer.stale_namespace
    return answer


async def _execute(
    info: Info,
    request: CreateShardsInput | UpdateShardInput | UpdateShardsInput | DeleteShardsInput | ConfigureNamespaceInput,
) -> Answer:
    try:
        return await info.context.writer.execute(request.command())
    except InvalidArgument as refused:
        return InvalidInput.of(refused)
