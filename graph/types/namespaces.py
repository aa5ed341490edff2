"""Namespaces as the API shows them; the record is `persistence.records.Namespace`."""

from datetime import datetime

import strawberry

from graph.scalars import JSON, Revision
from graph.types.policies import NamespacePolicy


@strawberry.type(description="A family of shards with one placement strategy.")
class Namespace:
    name: str = strawberry.field(description="Its name. At most 128 characters.")
    strategy: str = strawberry.field(description="The placement strategy: the name of one of `strategies`.")
    strategy_parameters: JSON = strawberry.field(
        description="The strategy's parameters as they were given; what is left out has its default."
    )
    algorithm_version: int = strawberry.field(
        description="The version of the strategy's algorithm. Another version may place shards elsewhere."
    )
    parameters_digest: str = strawberry.field(
        description="SHA-256 (hex) of strategy, algorithm version and all parameters with their defaults."
    )
    policy: NamespacePolicy = strawberry.field(description="What changes of its shards must keep to.")
    version: Revision = strawberry.field(
        description="Counts the changes of its configuration, from 1. The `expectedVersion` of configureNamespace."
    )
    digest: str = strawberry.field(
        description=(
            "32 hex digits over every shard's id, version and checksum: "
            "whoever holds the same digest holds the same table."
        )
    )
    shard_count: int = strawberry.field(description="How many shards it has.")
    revision: Revision = strawberry.field(description="The revision of the last change to one of its shards.")
    created_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When its configuration or one of its shards last changed.")
