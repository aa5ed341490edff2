"""What mutations of shards and namespaces answer: the store's outcomes, one type each."""

from typing import Annotated, TypeAlias

import strawberry

from graph import refusals
from graph.resolvers import positions
from graph.scalars import Revision
from graph.types.changes import Change
from graph.types.namespaces import Namespace
from graph.types.policies import PolicyViolation
from graph.types.refusals import REPLAYED, IdempotencyKeyReused, InvalidInput, NotFound, Refusal, describes
from graph.types.shards import Shard
from persistence import outcomes


def _stale_namespace(parent: strawberry.Parent[outcomes.StaleShard]) -> str:
    return parent.key.namespace


def _stale_shard_id(parent: strawberry.Parent[outcomes.StaleShard]) -> str:
    return parent.key.shard_id


@strawberry.type(description="Committed.")
class ShardsChanged:
    is_type_of = staticmethod(describes(outcomes.ShardsChanged))

    change: Change = strawberry.field(description="The change it was committed as.")
    shards: list[Shard] = strawberry.field(
        description="The shards after the change (before it, for a deletion), in the order asked for."
    )
    cursor = strawberry.field(
        resolver=positions.cursor,
        description=(
            "The place in the change stream right after this change: read with `atLeastCursor` and you see your own "
            "write."
        ),
    )
    revision = strawberry.field(
        resolver=positions.revision,
        description="The revision of the last shard changed, for `atLeast`.",
    )
    replayed: bool = strawberry.field(description=REPLAYED)


@strawberry.type(description="A shard that was not at the version expected.")
class StaleShard:
    namespace = strawberry.field(resolver=_stale_namespace, description="The namespace of the shard.")
    shard_id = strawberry.field(resolver=_stale_shard_id, description="The shard's id.")
    expected: Revision = strawberry.field(
        name="expectedVersion", description="The version the request expected; 0 for a shard to be created."
    )
    actual: Revision = strawberry.field(name="actualVersion", description="The version it is at; 0 if it is not there.")
    current: Shard | None = strawberry.field(description="The shard as it is; null if it is not there.")
    last_change: Change | None = strawberry.field(description="Who changed it last, and why.")


@strawberry.type(description="At least one shard is not at the version expected. Nothing was written.")
class VersionConflict(Refusal):
    is_type_of = staticmethod(describes(outcomes.VersionConflict))

    message = strawberry.field(resolver=refusals.version_conflict, description="What is stale, in a sentence.")
    stale: list[StaleShard] = strawberry.field(
        name="conflicts", description="Every shard that is stale, in the order asked for."
    )


@strawberry.type(description="The namespace's configuration is not at the version expected. Nothing was written.")
class NamespaceVersionConflict(Refusal):
    is_type_of = staticmethod(describes(outcomes.StaleNamespace))

    message = strawberry.field(resolver=refusals.stale_namespace, description="What is stale, in a sentence.")
    name: str = strawberry.field(description="The namespace.")
    expected: Revision = strawberry.field(
        name="expectedVersion", description="The version the request expected; 0 for a new namespace."
    )
    actual: Revision = strawberry.field(
        name="actualVersion", description="The version it is at; 0 if there is no such namespace."
    )
    current: Namespace | None = strawberry.field(description="The namespace as it is; null if there is none.")
    last_change: Change | None = strawberry.field(description="Who configured it last, and why.")


@strawberry.type(description="Committed.")
class NamespaceConfigured:
    is_type_of = staticmethod(describes(outcomes.NamespaceConfigured))

    change: Change = strawberry.field(description="The change it was committed as.")
    namespace: Namespace = strawberry.field(description="The namespace after the change.")
    replayed: bool = strawberry.field(description=REPLAYED)


ShardMutationResult: TypeAlias = Annotated[
    ShardsChanged | VersionConflict | PolicyViolation | NotFound | InvalidInput | IdempotencyKeyReused,
    strawberry.union("ShardMutationResult", description="What became of a request to change shards."),
]
ConfigureNamespaceResult: TypeAlias = Annotated[
    NamespaceConfigured | NamespaceVersionConflict | InvalidInput | IdempotencyKeyReused,
    strawberry.union("ConfigureNamespaceResult", description="What became of a request to configure a namespace."),
]
