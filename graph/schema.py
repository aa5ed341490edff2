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
from graph.mutation import Mutation
from graph.null_defaults import drop_null_defaults
from graph.query import Query
from graph.resolvers import stream as of_stream
from graph.scalars import SCALARS
from graph.types.stream import ShardDiffBatch


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
