"""The schema: assembled of its root types, with errors as clients may see them, and exported as SDL."""

from collections.abc import AsyncIterable, Iterator
from functools import partial

import strawberry
from graphql import (
    GraphQLArgument,
    GraphQLError,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
)
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from graph.execution.authorization import Requirements
from graph.execution.context import Context
from graph.execution.documents import DocumentCache
from graph.execution.errors import publish
from graph.execution.executor import RecordExecutor
from graph.execution.extension import Execution
from graph.execution.limits import MAX_CHARACTERS
from graph.execution.metrics import Metrics
from graph.execution.outcomes import current_record
from graph.execution.prepared import PreparedSchema
from graph.schema import change_stream as of_changes
from graph.schema import stream as of_stream
from graph.schema.change_stream import ChangeBatch
from graph.schema.mutation import Mutation
from graph.schema.query import Query
from graph.schema.scalars import SCALARS
from graph.schema.stream import ShardDiffBatch


@strawberry.type(description="Following.")
class Subscription:
    shard_diffs = strawberry.subscription(
        resolver=of_stream.shard_diffs,
        graphql_type=AsyncIterable[ShardDiffBatch],
        description=(
            "Changes of shards as they are committed, in order, in batches that each carry the cursor to resume "
            "from. A stream without changes sends empty batches from time to time."
        ),
    )

    changes = strawberry.subscription(
        resolver=of_changes.change_stream,
        graphql_type=AsyncIterable[ChangeBatch],
        description=(
            "Changes as they are committed, in order: those of nodes, of plans, of policies and freezes, and those of "
            "shards, in batches that each carry the cursor to resume from. A stream without changes sends empty "
            "batches from time to time. Changes are never compacted."
        ),
    )


class MeshSchema(PreparedSchema):
    """A schema whose errors are fit to be read by clients, whatever transport they go out by."""

    documents: DocumentCache
    requirements: Requirements

    @property
    def core(self) -> GraphQLSchema:
        """graphql-core's schema. Strawberry has no public way to the one it builds."""
        return self._schema

    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:
        self.publish(errors, execution_context.context if execution_context else None)

    def publish(self, errors: list[GraphQLError], context: object) -> None:
        """Make errors fit to be read by the client whose context this is."""
        publish(errors, context.request_id if isinstance(context, Context) else "none")
        record = current_record()
        for error in errors:
            code = str((error.extensions or {}).get("code"))
            if self.metrics is not None:
                self.metrics.errors.labels(code).inc()
            if record is not None:
                record.failed(code)


def build_schema(metrics: Metrics | None = None, document_characters: int = MAX_CHARACTERS) -> MeshSchema:
    """The schema, with a cache of its documents. Operations are counted where there is something to count into."""
    documents = DocumentCache(document_characters)
    schema = MeshSchema(
        Query,
        Mutation,
        Subscription,
        extensions=[partial(Execution, documents, metrics)],
        config=StrawberryConfig(scalar_map=SCALARS),
        execution_context_class=RecordExecutor,
    )
    schema.documents = documents
    schema.metrics = metrics
    if metrics is not None:
        metrics.document_bytes.set_function(lambda: documents.remembered_bytes)
        metrics.record_bytes.set_function(lambda: documents.records.size)
    schema.requirements = Requirements(schema.core)
    documents.bind(schema.core, schema.requirements)
    drop_null_defaults(schema.core)
    return schema


def drop_null_defaults(schema: GraphQLSchema) -> None:
    """Show arguments and fields of inputs that are null in Python by default without a default: left out or null means
    the same for all of them."""
    for value in _input_values(schema):
        if value.default_value is None:
            value.default_value = Undefined


def _input_values(schema: GraphQLSchema) -> Iterator[GraphQLArgument | GraphQLInputField]:
    for named in schema.type_map.values():
        if isinstance(named, GraphQLInputObjectType):
            yield from named.fields.values()
        elif isinstance(named, GraphQLObjectType):
            for field in named.fields.values():
                yield from field.args.values()


def export_schema() -> str:
    """The schema in SDL, ending in one newline. The same text on every run."""
    return build_schema().as_str().rstrip() + "\n"
