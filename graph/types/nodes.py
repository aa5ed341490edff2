"""Nodes as the API shows them; the record is `persistence.records.Node`."""

from datetime import datetime

import strawberry

import graph.enums  # noqa: F401 - registers the enums these types name
from graph.scalars import JSON, Revision
from persistence.records import NodeStatus


@strawberry.type(description="A mesh node that may own shards.")
class Node:
    node_id: str = strawberry.field(description="Its id. At most 128 characters.")
    region: str | None = strawberry.field(description="The region it is in, as locality hints name it.")
    zone: str | None = strawberry.field(description="The zone it is in, as locality hints name it.")
    labels: JSON = strawberry.field(description="A JSON object of strings, which selectors can match.")
    weight: int = strawberry.field(
        description="How much it takes, relative to other nodes: a whole number from 1 to 1,048,576."
    )
    status: NodeStatus = strawberry.field(description="Whether it may own shards.")
    change_ticket: str | None = strawberry.field(description="The ticket of its last change.")
    version: Revision = strawberry.field(
        description=(
            "Counts its changes, from 1, never reused, not even after it was removed. The `expectedVersion` of "
            "updateNode and drainNode."
        )
    )
    shard_count: int = strawberry.field(description="How many shards it owns, of all namespaces.")
    created_at: datetime = strawberry.field(description="When it was first registered.")
    updated_at: datetime = strawberry.field(description="When it was last changed.")
