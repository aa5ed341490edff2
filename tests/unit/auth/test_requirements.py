"""Every mutation declares the scope it needs, and an operation is held against all that it selects."""

from __future__ import annotations

import pytest
import strawberry
from graphql import OperationType, get_operation_ast, parse

from graph.auth.principal import ANONYMOUS, UNRESTRICTED, Principal, Scope
from graph.execution.authorization import Requirements, needs
from graph.schema.build import build_schema


def anything() -> str:
    return "done"


@strawberry.type
class Query:
    there = strawberry.field(resolver=anything)


@strawberry.type
class Declared:
    move = strawberry.field(resolver=anything, metadata=needs(Scope.OPERATE))
    allow = strawberry.field(resolver=anything, metadata=needs(Scope.APPROVE))


@strawberry.type
class Forgotten:
    move = strawberry.field(resolver=anything, metadata=needs(Scope.OPERATE))
    destroy_everything = strawberry.field(resolver=anything)


REQUIREMENTS = Requirements(strawberry.Schema(Query, Declared)._schema)  # noqa: SLF001 - there is no public way to it


def test_a_mutation_that_declares_nothing_keeps_the_schema_from_being_built() -> None:
    with pytest.raises(TypeError, match="the mutation destroyEverything does not declare which scope it needs"):
        Requirements(strawberry.Schema(Query, Forgotten)._schema)  # noqa: SLF001 - see above


def test_every_field_of_the_root_types_needs_a_scope_and_mutations_more_than_reading() -> None:
    schema = build_schema()
    for kind in OperationType:
        root = schema.core.get_root_type(kind)
        assert root is not None
        for field in root.fields:
            needed = schema.requirements.of(kind, field)
            assert (needed is Scope.READ) == (kind is not OperationType.MUTATION), field


@pytest.mark.parametrize(
    ("document", "missing"),
    [
        ("{ there }", "there needs a token with the scope mesh.read"),
        ("{ __schema { description } }", "__schema needs a token with the scope mesh.read"),
        ("{ __typename }", "__typename needs a token with the scope mesh.read"),
        ("mutation { there: move }", "move needs a token with the scope mesh.operate"),
        ("mutation { ...A } fragment A on M { ...B } fragment B on M { ...A ... { allow } }", "allow needs a token"),
    ],
)
def test_whatever_is_selected_counts_however_it_is_written(document: str, missing: str) -> None:
    parsed = parse(document)
    operation = get_operation_ast(parsed, None)
    assert operation is not None
    problem = REQUIREMENTS.problem(parsed, operation, ANONYMOUS)
    assert problem is not None
    assert problem.message.startswith(missing)
    assert REQUIREMENTS.problem(parsed, operation, UNRESTRICTED) is None


def test_all_that_a_document_needs_must_be_there() -> None:
    parsed = parse("mutation { move allow }")
    operation = get_operation_ast(parsed, None)
    assert operation is not None
    problem = REQUIREMENTS.problem(parsed, operation, Principal("alice", frozenset({Scope.OPERATE})))
    assert problem is not None
    assert problem.extensions == {"code": "FORBIDDEN", "scope": "mesh.approve"}
