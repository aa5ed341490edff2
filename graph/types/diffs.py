"""Differences as the API shows them; the record is `persistence.records.ShardDiff`."""

import strawberry

import graph.enums  # noqa: F401 - registers the enums these types name
from graph.scalars import Revision
from graph.types.changes import Change
from graph.types.shards import Shard
from persistence.records import DiffKind, MoveReason


@strawberry.type(
    description="One shard before and after: one row of history, or the net difference between two revisions."
)
class ShardDiff:
    revision: Revision = strawberry.field(description="The revision that made it; of a net difference, the last one.")
    kind: DiffKind = strawberry.field(description="What happened to the shard.")
    namespace: str = strawberry.field(description="The namespace of the shard.")
    shard_id: str = strawberry.field(description="The shard's id.")
    version: Revision = strawberry.field(description="The shard's version after; a deletion counts too.")
    changed_fields: list[str] = strawberry.field(
        description="The fields that differ, named as in `Shard`. Empty for a creation and a deletion."
    )
    previous: Shard | None = strawberry.field(description="The shard before; null if it was not there.")
    current: Shard | None = strawberry.field(description="The shard after; null if it is gone.")
    change: Change = strawberry.field(description="The change that did it; of a net difference, the last one.")
    move_reason: MoveReason | None = strawberry.field(description="Why a rebalance moved it; null where none did.")
