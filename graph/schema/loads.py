"""What nodes own: shards counted by node, namespace and status, and the loads of one node."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Final

import strawberry

from graph.execution import loads as execution_loads
from graph.execution.context import Info
from graph.execution.loads import MAX_NAMESPACES, capacity_of
from graph.schema.arguments import invalid, require_namespaces
from graph.schema.scalars import Revision
from persistence.codec import cursors
from persistence.codec.cursors import Cursor
from persistence.model.fields import MAX_FILTER_VALUES, Problems, check_identifiers, identifier_problem
from persistence.model.records import Node, ShardStatus
from persistence.ports.readers import ShardCount

MAX_COUNTS: Final = 5_000
"""In one answer."""


@strawberry.enum(description="What shards are counted by.")
class ShardCountKey(Enum):
    NODE = strawberry.enum_value("NODE", description="The node that owns them.")
    NAMESPACE = strawberry.enum_value("NAMESPACE", description="Their namespace.")
    STATUS = strawberry.enum_value("STATUS", description="Their status.")


@strawberry.type(description="How many shards there are of one kind.")
class ShardCounted:
    namespace: str | None = strawberry.field(description="Their namespace; null where they are of any.")
    owner_node_id: str | None = strawberry.field(description="The node that owns them; null where it is any.")
    status: ShardStatus | None = strawberry.field(description="Their status; null where it is any.")
    shards: int = strawberry.field(description="How many there are, at least one.")
    capacity: float = strawberry.field(description="The sum of their capacity hints, each rounded to a millionth.")


@strawberry.type(description="How many shards there are of each kind, all at one revision.")
class ShardCounts:
    counts: list[ShardCounted] = strawberry.field(
        description="Of each kind that there is, ordered by namespace, node and status."
    )
    total: int = strawberry.field(description="How many shards there are in all.")
    cursor: Cursor = strawberry.field(
        description="The place in the change stream this is exact at: follow with `shardDiffs(after:)`, miss nothing."
    )
    revision: Revision = strawberry.field(description="The revision this is exact at.")


@dataclass(frozen=True, slots=True)
class Counted:
    """`ShardCounted`."""

    namespace: str | None
    owner_node_id: str | None
    status: ShardStatus | None
    shards: int
    capacity: float


@dataclass(frozen=True, slots=True)
class Counts:
    """`ShardCounts`."""

    counts: Sequence[Counted]
    total: int
    cursor: Cursor
    revision: int


_BY_ALL: Final = tuple(ShardCountKey)


async def shard_counts(
    info: Info,
    namespace: Annotated[
        str | None, strawberry.argument(description="Only shards of this namespace; all by default.")
    ] = None,
    owner_node_ids: Annotated[
        list[str] | None,
        strawberry.argument(description="Only shards that these nodes own. At most 1,000; all by default."),
    ] = None,
    by: Annotated[
        list[ShardCountKey] | None,
        strawberry.argument(description="What they are counted by: node, namespace and status by default."),
    ] = None,
) -> Counts:
    _check(namespace, owner_node_ids)
    await require_namespaces(info, namespace)
    found = await info.context.services.store.totals.counts(namespace)
    owners = None if owner_node_ids is None else set(owner_node_ids)
    chosen = [each for each in found.value if owners is None or each.node_id in owners]
    counts = _grouped(chosen, _BY_ALL if by is None else by)
    if len(counts) > MAX_COUNTS:
        problem = f"gives {len(counts):,} counts, more than {MAX_COUNTS:,}: count by less, or of one namespace"
        raise invalid("by", problem)
    position = found.position
    return Counts(counts, sum(each.shards for each in chosen), cursors.STREAM.write(position), position.revision)


def _check(namespace: str | None, owner_node_ids: Sequence[str] | None) -> None:
    """Raises InvalidArgument naming the argument."""
    check_identifiers(namespace=namespace)
    if owner_node_ids is None:
        return
    if len(owner_node_ids) > MAX_FILTER_VALUES:
        raise invalid("ownerNodeIds", f"must hold at most {MAX_FILTER_VALUES:,} values, not {len(owner_node_ids):,}")
    problems = Problems()
    for index, node_id in enumerate(owner_node_ids):
        problems.add(f"ownerNodeIds[{index}]", identifier_problem(node_id))
    problems.raise_if_any()


def _grouped(found: Sequence[ShardCount], by: Sequence[ShardCountKey]) -> Sequence[Counted]:
    keys = set(by)
    by_namespace, by_node, by_status = (
        each in keys for each in (ShardCountKey.NAMESPACE, ShardCountKey.NODE, ShardCountKey.STATUS)
    )
    sums = defaultdict[tuple[str, str, str], list[int]](lambda: [0, 0])
    for namespace, node_id, status, shards, capacity in found:
        own = sums[namespace if by_namespace else "", node_id if by_node else "", status if by_status else ""]
        own[0] += shards
        own[1] += capacity
    return [
        Counted(
            namespace or None, node_id or None, ShardStatus(status) if status else None, shards, capacity_of(capacity)
        )
        for (namespace, node_id, status), (shards, capacity) in sorted(sums.items())
    ]


@strawberry.type(description="What a node owns of a namespace, and what it would by its weight.")
class NamespaceLoad:
    namespace: str = strawberry.field(description="The namespace.")
    shards: int = strawberry.field(description="How many of its shards the node owns.")
    capacity: float = strawberry.field(description="The sum of their capacity hints, each rounded to a millionth.")
    share: float = strawberry.field(
        description=(
            "How many it would own if they were divided by weight among the nodes that may own them, which are active "
            "and match the selector; 0 if it may own none."
        )
    )
    bound: int | None = strawberry.field(
        description=(
            "With how many shards it is full, by `maxLoadPercent` or `maxShardsPerNode`; null without such a bound."
        )
    )
    capacity_bound: float | None = strawberry.field(
        description="With how much capacity it is full, by `maxLoadPercent` where `loadBy` is `capacity`; else null."
    )


async def node_loads(
    parent: strawberry.Parent[Node],
    info: Info,
    namespaces: Annotated[
        list[str] | None,
        strawberry.argument(
            description=(
                f"Of these namespaces, at most {MAX_NAMESPACES}, those that there are. By default of those of which it "
                f"owns most, then of others of which it may own some, {MAX_NAMESPACES} in all."
            )
        ),
    ] = None,
) -> Sequence[execution_loads.NamespaceLoad]:
    if namespaces is not None:
        if len(namespaces) > MAX_NAMESPACES:
            raise invalid("namespaces", f"must hold at most {MAX_NAMESPACES} names, not {len(namespaces):,}")
        namespaces = list(dict.fromkeys(namespaces))
    return await info.context.services.loads.of(parent.node_id, None if namespaces is None else tuple(namespaces))
