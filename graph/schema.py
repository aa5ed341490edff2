"""The schema, assembled."""

from collections.abc import AsyncGenerator

import strawberry
from graphql import GraphQLError
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from graph.context import Context
from graph.documents import DocumentCache, ReadDocument
from graph.errors import publish
from graph.metrics import Measure, Metrics
from graph.null_defaults import drop_null_defaults
from graph.resolvers import changes as of_changes
from graph.resolvers import history as of_history
from graph.resolvers import mutations
from graph.resolvers import namespaces as of_namespaces
from graph.resolvers import shards as of_shards
from graph.resolvers import stream as of_stream
from graph.scalars import SCALARS
from graph.types.connections import (
    ChangeConnection,
    NamespaceConnection,
    ShardConnection,
    ShardDiffConnection,
    ShardHistoryConnection,
)
from graph.types.namespaces import Namespace
from graph.types.results import ConfigureNamespaceResult, ShardMutationResult
from graph.types.shards import Shard
from graph.types.stream import ShardDiffBatch, StreamHead


@strawberry.type(description="Reading. Nothing here changes anything.")
class Query:
    shard = strawberry.field(
        resolver=of_shards.shard, graphql_type=Shard | None, description="One shard, or null if there is none."
    )
    shards = strawberry.field(
        resolver=of_shards.shards,
        graphql_type=ShardConnection,
        description="Shards, ordered by namespace and shard id.",
    )
    shard_history = strawberry.field(
        resolver=of_history.shard_history,
        graphql_type=ShardHistoryConnection,
        description="Every change of every shard, row by row, with the shard before and after.",
    )
    shard_diff = strawberry.field(
        resolver=of_history.shard_diff,
        graphql_type=ShardDiffConnection,
        description="The net difference between two revisions, ordered by namespace and shard id.",
    )
    changes = strawberry.field(
        resolver=of_changes.changes, graphql_type=ChangeConnection, description="Committed changes: the audit log."
    )
    namespaces = strawberry.field(
        resolver=of_namespaces.namespaces, graphql_type=NamespaceConnection, description="Namespaces, ordered by name."
    )
    namespace = strawberry.field(
        resolver=of_namespaces.namespace, graphql_type=Namespace | None, description="One namespace, or null."
    )
    head = strawberry.field(
        resolver=of_stream.head, graphql_type=StreamHead, description="Where the change stream is now."
    )


@strawberry.type(
    description=(
        "Changing. Each mutation is one transaction and one change: all of it happens or nothing. What can go wrong "
        "is a member of the result's union, so that no client has to read a message."
    )
)
class Mutation:
    create_shards = strawberry.field(
        resolver=mutations.create_shards, graphql_type=ShardMutationResult, description="Create shards."
    )
    update_shard = strawberry.field(
        resolver=mutations.update_shard,
        graphql_type=ShardMutationResult,
        description="Move one shard, or change its leader, hints or status, if it is at the version expected.",
    )
    update_shards = strawberry.field(
        resolver=mutations.update_shards,
        graphql_type=ShardMutationResult,
        description="Move or change many shards, if every one of them is at the version expected.",
    )
    delete_shards = strawberry.field(
        resolver=mutations.delete_shards,
        graphql_type=ShardMutationResult,
        description="Delete shards, if every one of them is at the version expected. Their history stays.",
    )
    configure_namespace = strawberry.field(
        resolver=mutations.configure_namespace,
        graphql_type=ConfigureNamespaceResult,
        description="Create a namespace, or give it another strategy or other parameters. Moves no shard.",
    )


@strawberry.type(description="Following.")
class Subscription:
    shard_diffs = strawberry.subscription(
        resolver=of_stream.shard_diffs,
        graphql_type=AsyncGenerator[ShardDiffBatch, None],
        description=(
            "Changes of shards as they are committed, in order, in batches that each carry the cursor to resume "
            "from. A stream without changes sends empty batches from time to time."
        ),
    )


class MeshSchema(strawberry.Schema):
    """A schema whose errors are fit to be read by clients, whatever transport they go out by."""

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        context = execution_context.context if execution_context else None
        publish(errors, context.request_id if isinstance(context, Context) else "none")


def build_schema(metrics: Metrics | None = None) -> MeshSchema:
    """The schema, with a cache of its documents. Operations are counted where there is something to count into."""
    extensions = [ReadDocument.through(DocumentCache())]
    if metrics is not None:
        extensions.append(Measure.into(metrics))
    config = StrawberryConfig(scalar_map=SCALARS)
    schema = MeshSchema(Query, Mutation, Subscription, extensions=extensions, config=config)
    drop_null_defaults(schema._schema)  # noqa: SLF001 - Strawberry has no public way to the schema it builds
    return schema
