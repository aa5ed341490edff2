"""What a document leaves behind is freed by its reference counts: what is in a cycle stays for as long as the server
does, where it is exempted from garbage collection (graph/server/garbage)."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import pytest
import strawberry
from strawberry.types import ExecutionResult

from graph.auth.principal import UNRESTRICTED
from graph.execution.context import Context
from graph.execution.executor import RecordExecutor
from tests.support.shared_schema import schema_with_documents_of_its_own

_FIELDS: Final = "shards(first: 3) { nodes { shardId ownerNodeId version } }"

_FEW: Final = 50
"""Objects of one validation: graphql-core's, of what looks for variables."""


@contextmanager
def left() -> Iterator[Counter[str]]:
    """By type, the objects that only a garbage collection frees of what is done meanwhile."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found.update(type(each).__name__ for each in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        gc.collect()


def _document(count: int) -> str:
    return "{ " + " ".join(f"a{number}: {_FIELDS}" for number in range(count)) + " }"


@pytest.mark.parametrize(
    "text",
    [
        _document(30),
        "{ shards { " + "nodes { shardId } " * 50 + "} }",
        "{ " + " ".join(f"unknown{number}" for number in range(100)) + " }",
        "query($a: String) { " + _FIELDS + " }",
    ],
    ids=["valid", "repeated", "unknown", "unused variable"],
)
def test_a_document_that_is_forgotten_leaves_little(text: str) -> None:
    cache = schema_with_documents_of_its_own().documents
    with left() as found:
        cache.problems_of(text)
        cache._new.documents.clear()  # noqa: SLF001 - as if others had displaced it
    assert found.total() <= _FEW, found
    assert not found.keys() & {"Token", "FieldNode", "DocumentNode"}


def test_a_plan_that_nothing_has_any_more_leaves_nothing() -> None:
    cache = schema_with_documents_of_its_own().documents
    text = _document(30)
    assert cache.valid(text) is not None
    with left() as found:
        plan = cache.plan(text, None, UNRESTRICTED)
        assert plan is not None
        plan.compile()
        del plan
        cache._new.documents.clear()  # noqa: SLF001 - as if others had displaced it
    assert not found


async def test_an_operation_that_graphql_core_has_executed_leaves_nothing() -> None:
    @strawberry.type
    class Query:
        @strawberry.field
        async def number(self, least: int = 0) -> int:
            return least

    schema = strawberry.Schema(Query, execution_context_class=RecordExecutor)
    query, context = "{ a: number b: number(least: 1) }", Context(cast("Any", None), UNRESTRICTED, "request")
    assert await schema.execute(query, context_value=context) is not None
    with left() as found:
        result = await schema.execute(query, context_value=context)
        assert isinstance(result, ExecutionResult)
        assert result.data == {"a": 0, "b": 1}
        del result
    assert not found.keys() & {"RecordExecutor", "Context", "VariableValues"}, found
