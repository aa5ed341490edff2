"""What mutations answer: the store's outcomes, one type each, and what an operator is told about the refusals."""

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import strawberry

from graph import refusals
from graph.cursors import stream_cursor
from graph.scalars import Cursor, Revision
from graph.types.changes import Change
from graph.types.namespaces import Namespace
from graph.types.shards import Shard, ShardKey
from persistence import outcomes


def _describes(record: type) -> Callable[[object, Any], bool]:
    """The test by which GraphQL finds the member of a union: this type stands for instances of `record`."""

    def is_type_of(value: object, _info: Any) -> bool:
        return isinstance(value, record)

    return is_type_of


def _position_cursor(parent: strawberry.Parent[outcomes.ShardsChanged]) -> Cursor:
    return stream_cursor(parent.position)


def _position_revision(parent: strawberry.Parent[outcomes.ShardsChanged]) -> Revision:
    return Revision(parent.position.revision)


def _stale_namespace(parent: strawberry.Parent[outcomes.StaleShard]) -> str:
    return parent.key.namespace


def _stale_shard_id(parent: strawberry.Parent[outcomes.StaleShard]) -> str:
    return parent.key.shard_id


@strawberry.interface(description="Why nothing was written.")
class Refusal:
    message: str = strawberry.field(description="What happened, in a sentence for the operator.")


@strawberry.type(description="Committed.")
class ShardsChanged:
    is_type_of = staticmethod(_describes(outcomes.ShardsChanged))

    change: Change = strawberry.field(description="The change it was committed as.")
    shards: list[Shard] = strawberry.field(
        description="The shards after the change (before it, for a deletion), in the order asked for."
    )
    cursor = strawberry.field(
        resolver=_position_cursor, description="The place in the change stream right after this change."
    )
    revision = strawberry.field(
        resolver=_position_revision,
        description="The revision of the last shard changed: read with `atLeast` and you see your own write.",
    )
    replayed: bool = strawberry.field(
        description="True if an earlier request with the same idempotency key made the change; this one wrote nothing."
    )


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
    is_type_of = staticmethod(_describes(outcomes.VersionConflict))

    message = strawberry.field(resolver=refusals.version_conflict, description="What is stale, in a sentence.")
    stale: list[StaleShard] = strawberry.field(
        name="conflicts", description="Every shard that is stale, in the order asked for."
    )


@strawberry.type(description="The namespace's configuration is not at the version expected. Nothing was written.")
class NamespaceVersionConflict(Refusal):
    is_type_of = staticmethod(_describes(outcomes.StaleNamespace))

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


@strawberry.type(description="Something the request names is not there. Nothing was written.")
class NotFound(Refusal):
    is_type_of = staticmethod(_describes(outcomes.NotFound))

    message = strawberry.field(resolver=refusals.not_found, description="What is missing, in a sentence.")
    namespaces: list[str] = strawberry.field(description="The namespaces that do not exist.")
    shards: list[ShardKey] = strawberry.field(description="The shards that do not exist.")


@strawberry.type(description="The idempotency key already belongs to another request. Nothing was written.")
class IdempotencyKeyReused(Refusal):
    is_type_of = staticmethod(_describes(outcomes.IdempotencyKeyReused))

    message = strawberry.field(resolver=refusals.key_reused, description="Whose key it is, in a sentence.")
    key: str = strawberry.field(description="The key.")
    change: Change = strawberry.field(description="The change that the earlier request made.")


@strawberry.type(description="What is wrong with one field of the input.")
class FieldError:
    field: str = strawberry.field(description="The field as a path into the input, such as `shards[3].capacityHint`.")
    message: str = strawberry.field(description="What is wrong with it.")


@strawberry.type(description="The input breaks a documented rule. Nothing was written.")
class InvalidInput(Refusal):
    is_type_of = staticmethod(_describes(refusals.InvalidInput))

    errors: list[FieldError] = strawberry.field(description="Everything that is wrong, at most 100 entries.")


@strawberry.type(description="Committed.")
class NamespaceConfigured:
    is_type_of = staticmethod(_describes(outcomes.NamespaceConfigured))

    change: Change = strawberry.field(description="The change it was committed as.")
    namespace: Namespace = strawberry.field(description="The namespace after the change.")
    replayed: bool = strawberry.field(
        description="True if an earlier request with the same idempotency key made the change; this one wrote nothing."
    )


ShardMutationResult: TypeAlias = Annotated[
    ShardsChanged | VersionConflict | NotFound | InvalidInput | IdempotencyKeyReused,
    strawberry.union("ShardMutationResult", description="What became of a request to change shards."),
]
ConfigureNamespaceResult: TypeAlias = Annotated[
    NamespaceConfigured | NamespaceVersionConflict | InvalidInput | IdempotencyKeyReused,
    strawberry.union("ConfigureNamespaceResult", description="What became of a request to configure a namespace."),
]
