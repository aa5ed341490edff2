"""Why a shard is where it is."""

from typing import Annotated

import strawberry

from graph.context import Info
from graph.enums import StayReason
from graph.resolvers.arguments import NamespaceName, check_identifiers
from graph.resolvers.namespaces import missing
from persistence.outcomes import NotFound
from persistence.planning.explanation import Explanation
from persistence.records import ShardKey


async def explain_shard(
    info: Info,
    namespace: NamespaceName,
    shard_id: Annotated[str, strawberry.argument(description="The shard's id within the namespace.")],
) -> Explanation:
    check_identifiers(namespace=namespace, shardId=shard_id)
    found = await info.context.rebalancer.explain(ShardKey(namespace, shard_id))
    if isinstance(found, NotFound):
        raise await missing(info, found)
    return found


def shard_id(parent: strawberry.Parent[Explanation]) -> str:
    return parent.shard.shard_id


def owner_node_id(parent: strawberry.Parent[Explanation]) -> str:
    return parent.shard.owner_node_id


def stays(parent: strawberry.Parent[Explanation]) -> StayReason | None:
    return None if parent.stays is None else StayReason(parent.stays)
