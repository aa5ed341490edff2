"""One GraphQL schema for all applications of a process: tests make hundreds of them, and building a schema, then
validating the same documents against it again, costs more than most of their requests."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from unittest import mock

import graph.http.app
from graph.execution.documents import Execution
from graph.execution.metrics import Metrics
from graph.schema.build import MeshSchema, build_schema


@contextmanager
def shared_schema() -> Iterator[None]:
    """Applications that are created inside have the one schema, with its cache of documents; each counts for itself."""
    with mock.patch.object(graph.http.app, "build_schema", _counting_into):
        yield


def _counting_into(metrics: Metrics) -> MeshSchema:
    schema = copy.copy(one_schema())
    schema.extensions = (partial(Execution, schema.documents, metrics),)
    return schema


@cache
def one_schema() -> MeshSchema:
    return build_schema()
