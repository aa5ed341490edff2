"""Shards as the API shows them; the record is `persistence.records.Shard`."""

from datetime import datetime

import strawberry

import graph.enums  # noqa: F401 - registers the enums these types name
from graph.scalars import Revision
from persistence.records import ShardStatus


@strawberry.type(description="A decision that a shard stays where it is; rebalances leave it alone.")
class Pin:
    by: str = strawberry.field(description="Who pinned it.")
    reason: str = strawberry.field(description="Why.")
    until: datetime | None = strawberry.field(description="When the pin ends; null for no end.")


@strawberry.type(
    description="One shard as of `revision`: which node owns it, and everything a mesh node needs to act on that."
)
class Shard:
    namespace: str = strawberry.field(description="The namespace it belongs to.")
    shard_id: str = strawberry.field(description="Its id, unique within the namespace. At most 128 characters.")
    strategy: str = strawberry.field(description="The placement strategy that was in force when its owner was set.")
    owner_node_id: str = strawberry.field(description="The mesh node that owns it.")
    leader_id: str | None = strawberry.field(description="The replica that leads it, where there is one.")
    capacity_hint: float = strawberry.field(
        description="How much of a node it takes, relative to other shards. Finite, 0 or more; 1 by default."
    )
    locality_hint: str | None = strawberry.field(
        description="Where it would rather be: `region`, `region/zone`, `zone:x` or `region:x`."
    )
    status: ShardStatus = strawberry.field(description="What the owner may do with it.")
    pinned: Pin | None = strawberry.field(description="The decision that it stays where it is, if there is one.")
    anti_affinity_group: str | None = strawberry.field(
        description="Shards of one group of a namespace are on different nodes; null if it is in none."
    )
    change_ticket: str | None = strawberry.field(description="The ticket of its last change.")
    version: Revision = strawberry.field(
        description=(
            "Counts the changes of this shard, from 1, never reused, not even after deletion. "
            "Hand it back as `expectedVersion` to change the shard you have seen and no other."
        )
    )
    owner_epoch: Revision = strawberry.field(
        description="Counts its changes of owner, from 1. A fencing token: refuse whoever shows a lower one."
    )
    checksum: str = strawberry.field(
        description=(
            "32 hex digits over identity and content, not over version, revision or times: "
            "equal content, equal checksum."
        )
    )
    revision: Revision = strawberry.field(description="The revision of its last change.")
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When it last changed.")


@strawberry.type(description="The identity of a shard.")
class ShardKey:
    namespace: str = strawberry.field(description="The namespace.")
    shard_id: str = strawberry.field(description="The shard's id within it.")
