"""Plans of operations: when there is one, what it leaves to graphql-core, and that nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import pytest
import strawberry
from graphql import OperationDefinitionNode, parse
from strawberry.extensions.field_extension import FieldExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionResult

from graph.auth.principal import UNRESTRICTED, Principal, Scope
from graph.execution.authorization import Requirements, needs
from graph.execution.context import Context, Info
from graph.execution.documents import DocumentCache
from graph.execution.executor import RecordExecutor
from graph.execution.extension import Execution
from graph.execution.inputs import NotPrepared
from graph.execution.metrics import Metrics
from graph.execution.operation_plan import Plan
from graph.execution.services import Services
from graph.schema.build import MeshSchema
from tests.support.shared_schema import one_schema

DOCUMENTS: Final = sorted((Path(__file__).parents[2] / "frontend-queries" / "documents").glob("*.graphql"))


@dataclass
class Calls:
    """Stands for the services of a process."""

    made: list[str] = field(default_factory=list)
    pause: asyncio.Event | None = None


class Extended(FieldExtension):
    async def resolve_async(self, next_: Any, source: Any, info: Any, **kwargs: Any) -> Any:
        return await next_(source, info, **kwargs)


@strawberry.type
class Thing:
    name: str
    broken: str

    @strawberry.field
    async def slow(self) -> str:
        await asyncio.sleep(0)
        return self.name * 2


@strawberry.type
class Query:
    @strawberry.field
    async def thing(self, info: Info, name: str = "a", tags: list[str] | None = None) -> Thing | None:
        calls = cast("Calls", info.context.services)
        calls.made.append(f"{name}{tags or ''}")
        if calls.pause is not None:
            await calls.pause.wait()
        if name == "absent":
            return None
        return Thing(name=name, broken=cast("str", None))

    @strawberry.field
    def things(self) -> list[Thing]:
        return [Thing(name=name, broken="") for name in "abc"]

    @strawberry.field(extensions=[Extended()])  # type: ignore[untyped-decorator] # as Strawberry has it
    async def extended(self) -> int:
        return 1


@strawberry.type
class Mutation:
    @strawberry.mutation(metadata=needs(Scope.OPERATE))  # type: ignore[untyped-decorator] # as Strawberry has it
    async def change(self, info: Info, name: str) -> Thing | None:
        cast("Calls", info.context.services).made.append(name)
        if name == "refused":
            raise ValueError(name)
        return Thing(name=name, broken=cast("str", None))


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def schema(metrics: Metrics) -> MeshSchema:
    documents = DocumentCache()
    schema = MeshSchema(
        Query,
        Mutation,
        extensions=[lambda: Execution(documents, metrics)],
        config=StrawberryConfig(),
        execution_context_class=RecordExecutor,
    )
    schema.documents, schema.metrics = documents, metrics
    documents.bind(schema.core, Requirements(schema.core))
    return schema


async def executed(
    schema: MeshSchema, calls: Calls, query: str, scopes: frozenset[Scope] = frozenset(Scope), **variables: Any
) -> ExecutionResult:
    context = Context(cast("Services", calls), Principal("ops", scopes), "request")
    return await schema.execute(query, variables, context)


async def executed_twice(schema: MeshSchema, calls: Calls, query: str, **variables: Any) -> ExecutionResult:
    """The second answer, which is the plan's; of the first, nothing is left but that it was like it."""
    first = await executed(schema, calls, query, **variables)
    calls.made.clear()
    second = await executed(schema, calls, query, **variables)
    assert second.data == first.data
    assert [error.formatted for error in second.errors or ()] == [error.formatted for error in first.errors or ()]
    return second


def count(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0


async def test_a_document_that_is_answered_by_its_plan_is_not_forgotten_for_newer_ones(
    schema: MeshSchema, calls: Calls
) -> None:
    await executed(schema, calls, "{ __typename }")
    everything = Principal("ops", frozenset(Scope))
    for number in range(1_000):
        schema.documents.operation(f"{{ a{number} }}", None)
        assert schema.documents.plan("{ __typename }", None, everything) is not None


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_every_document_of_clients_is_compiled(path: Path) -> None:
    document = parse(path.read_text())
    nodes: Sequence[Any] = document.definitions
    names = [node.name.value for node in nodes if isinstance(node, OperationDefinitionNode) and node.name]
    assert names == [path.stem]
    plan = Plan(one_schema().core, document, path.stem)
    plan.compile(*[True] * plan.conditions)
    assert plan.size > 0


async def test_a_document_has_a_plan_from_the_second_time_on(
    schema: MeshSchema, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[None] = []
    build = RecordExecutor.__init__

    def counted(self: RecordExecutor, *args: Any, **kwargs: Any) -> None:
        built.append(None)
        build(self, *args, **kwargs)

    monkeypatch.setattr(RecordExecutor, "__init__", counted)
    query = """query ($name: String!) { thing(name: $name) { name slow } things { ...thing } }
               fragment thing on Thing { name slow }"""
    for _ in range(3):
        answer = await executed(schema, calls, query, name="b")
        assert answer.errors is None
        assert answer.data == {
            "thing": {"name": "b", "slow": "bb"},
            "things": [{"name": name, "slow": name * 2} for name in "abc"],
        }
    assert calls.made == ["b"] * 3
    assert len(built) == 1


async def test_conditions_have_a_variant_each(schema: MeshSchema, calls: Calls) -> None:
    query = "query ($all: Boolean!) { thing { name slow @include(if: $all) } }"
    for _ in range(2):
        assert (await executed(schema, calls, query, all=True)).data == {"thing": {"name": "a", "slow": "aa"}}
        assert (await executed(schema, calls, query, all=False)).data == {"thing": {"name": "a"}}


async def test_more_conditions_than_there_may_be_variants_are_not_compiled(
    schema: MeshSchema, calls: Calls, metrics: Metrics
) -> None:
    names = [f"v{number}" for number in range(5)]
    declared, used = (
        ", ".join(f"${name}: Boolean!" for name in names),
        " ".join(f"{name}: name @skip(if: ${name})" for name in names),
    )
    query = f"query ({declared}) {{ thing {{ name {used} }} }}"
    answer = await executed_twice(schema, calls, query, **dict.fromkeys(names, True))
    assert answer.data == {"thing": {"name": "a"}}
    assert count(metrics, "omnirelay_operations_fallback_total", operation="unnamed", reason="not_prepared") == 1


async def test_a_field_with_extensions_is_not_compiled(schema: MeshSchema, calls: Calls, metrics: Metrics) -> None:
    assert (await executed_twice(schema, calls, "{ extended }")).data == {"extended": 1}
    assert count(metrics, "omnirelay_operations_fallback_total", operation="unnamed", reason="not_prepared") == 1
    plan = Plan(schema.core, parse("{ extended }"), None)
    with pytest.raises(NotPrepared):
        plan.compile()


async def test_what_a_mutation_has_done_is_completed_and_not_done_again(
    schema: MeshSchema, calls: Calls, metrics: Metrics
) -> None:
    answer = await executed_twice(
        schema, calls, 'mutation { a: change(name: "a") { broken } b: change(name: "b") { name } }'
    )
    assert answer.data == {"a": None, "b": {"name": "b"}}
    assert [error.path for error in answer.errors or ()] == [["a", "broken"]]
    assert calls.made == ["a", "b"]
    assert count(metrics, "omnirelay_operations_fallback_total", operation="unnamed", reason="errors") == 1
    assert count(metrics, "omnirelay_operations_total", type="mutation", outcome="errors") == 2


async def test_what_a_mutation_has_raised_is_raised_once(schema: MeshSchema, calls: Calls) -> None:
    answer = await executed_twice(
        schema, calls, 'mutation { a: change(name: "refused") { name } b: change(name: "b") { name } }'
    )
    assert answer.data == {"a": None, "b": {"name": "b"}}
    assert calls.made == ["refused", "b"]


async def test_variables_that_are_refused_reach_no_resolver(schema: MeshSchema, calls: Calls, metrics: Metrics) -> None:
    query = "query Q($name: String!) { thing(name: $name) { name } }"
    answer = await executed_twice(schema, calls, query, name=7)
    assert [(error.extensions or {})["code"] for error in answer.errors or ()] == ["BAD_USER_INPUT"]
    assert calls.made == []
    assert count(metrics, "omnirelay_operations_fallback_total", operation="Q", reason="variables") == 1


async def test_a_list_of_one_is_coerced_by_graphql_core(schema: MeshSchema, calls: Calls) -> None:
    await executed_twice(schema, calls, "query ($tags: [String!]) { thing(tags: $tags) { name } }", tags="x")
    assert calls.made == ["a['x']"]


async def test_an_operation_that_is_not_allowed_is_refused_as_it_is_without_a_plan(
    schema: MeshSchema, calls: Calls
) -> None:
    query = 'mutation { change(name: "b") { name } }'
    await executed_twice(schema, calls, query)
    calls.made.clear()
    answer = await executed(schema, calls, query, frozenset({Scope.READ}))
    assert [(error.extensions or {})["code"] for error in answer.errors or ()] == ["FORBIDDEN"]
    assert calls.made == []


async def test_an_operation_that_is_cancelled_is_counted_as_such(
    schema: MeshSchema, calls: Calls, metrics: Metrics
) -> None:
    query = "{ thing { name } }"
    await executed_twice(schema, calls, query)
    calls.pause = asyncio.Event()
    task = asyncio.create_task(executed(schema, calls, query))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert count(metrics, "omnirelay_operations_total", type="query", outcome="cancelled") == 1
    assert count(metrics, "omnirelay_operations_total", type="query", outcome="ok") == 2


def test_clients_cannot_make_labels_without_end(metrics: Metrics) -> None:
    for number in range(300):
        metrics.fell_back(f"Query{number}", "errors")
    assert count(metrics, "omnirelay_operations_fallback_total", operation="other", reason="errors") == 200


def test_documents_are_forgotten_by_their_bytes(schema: MeshSchema) -> None:
    """Of 4 MB each, by far fewer than 512 are held."""
    documents = schema.documents
    texts = [f"{{ {' '.join(['things { name }'] * 1200)} a{number}: __typename }}" for number in range(40)]
    for text in texts:
        for _ in range(3):
            documents.plan(text, None, UNRESTRICTED)
            documents.parsed(text)
    assert documents.remembered_bytes <= 64 * 2**20
    kept = list(documents._proven.documents)  # noqa: SLF001 - none of a caller's business
    assert kept == texts[-len(kept) :]
    assert 10 < len(kept) < 40
