"""One GraphQL schema for all applications of a process: tests make hundreds of them, and building a schema, then
validating the same documents against it again, costs more than most of their requests."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from unittest import mock

import graph.http.app
import graph.schema.build
from graph.auth.principal import Principal
from graph.execution.documents import DocumentCache
from graph.execution.extension import Execution
from graph.execution.limits import MAX_CHARACTERS
from graph.execution.metrics import Metrics
from graph.execution.operation_plan import Plan
from graph.schema.build import MeshSchema, build_schema


@contextmanager
def shared_schema() -> Iterator[None]:
    """Applications that are created inside have the one schema, with its cache of documents; each counts for itself."""
    with mock.patch.object(graph.http.app, "build_schema", _counting_into):
        yield


class _EagerDocuments(DocumentCache):
    """Has plans from the first time on: most tests send a document once."""

    def plan(self, text: str | None, operation_name: str | None, principal: Principal) -> Plan | None:
        self.valid(text or "")
        return super().plan(text, operation_name, principal)


def _counting_into(metrics: Metrics, characters: int = MAX_CHARACTERS) -> MeshSchema:
    assert characters == MAX_CHARACTERS, "the documents are shared"
    schema = copy.copy(one_schema())
    schema.extensions = (partial(Execution, schema.documents, metrics),)
    schema.metrics = metrics
    return schema


def counting_plans(metrics: Metrics) -> MeshSchema:
    """The one schema, which counts there what its plans answer, and nothing else but what they do not."""
    schema = copy.copy(one_schema())
    schema.metrics = metrics
    return schema


@cache
def one_schema() -> MeshSchema:
    with mock.patch.object(graph.schema.build, "DocumentCache", _EagerDocuments):
        return build_schema()


def schema_with_documents_of_its_own() -> MeshSchema:
    """The one schema, with an empty cache of documents, and nothing kept of records."""
    schema = copy.copy(one_schema())
    schema.documents = _EagerDocuments()
    schema.documents.bind(schema.core, schema.requirements)
    return schema
