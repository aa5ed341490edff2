"""Operations that are nearly right: those of frontend-queries with variables made from their types, and the smallest on
every field that takes a cursor. Then the variables, the document, or the whole request is changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final

import graphql
from graphql import GraphQLEnumType, GraphQLInputObjectType, GraphQLList, GraphQLNonNull, OperationType

from graph.operations import SHA256, operation, operation_names, sha256_hex
from persistence.codec import cursors
from persistence.model.records import MAX_COUNTER, UNMARKED, MoveReason, ShardKey, StreamPosition
from tests.fuzz import mutation

Given = dict[str, Any]
"""The members of a request."""

_THERE: Final[Mapping[str, Sequence[Any]]] = {
    "namespace": ["billing", "search"],
    "name": ["billing", "search", "new"],
    "shardId": ["0", "1", "2", "3", "new"],
    "ownerNodeId": ["node-a", "node-b"],
    "nodeId": ["node-a", "node-b", "node-c"],
    "id": ["0", "node-a", "0" * 32],
    "planId": ["0" * 32],
    "strategy": ["ring", "rendezvous", "locality"],
    "actor": ["alice"],
    "reason": ["because"],
    "first": [0, 1, 2, 500],
    "last": [None, None, None, 1],
    "expectedVersion": ["0", "1", "2"],
    "idempotencyKey": [None, "key"],
    "localityHint": ["eu/eu-1", "zone:a"],
}
"""Values by the names of fields: random ones seldom get past the first check."""


@cache
def schema() -> graphql.GraphQLSchema:
    text = (Path(__file__).parents[2] / "frontend-queries" / "schema.graphql").read_text(encoding="utf-8")
    return graphql.build_schema(text)


@cache
def documents() -> Sequence[str]:
    return (*(operation(name) for name in sorted(operation_names())), *_with_cursors(), _INTROSPECTION)


_INTROSPECTION: Final = '{ __schema { types { name } } __type(name: "Shard") { fields { name } } }'


def _with_cursors() -> Sequence[str]:
    """On every field of the root that takes a cursor, and on every such field of what a root's field returns."""
    query = schema().query_type
    assert query is not None
    found = []
    for name, field in query.fields.items():
        if "after" in field.args:
            found.append(_on(name, field, "{ edges { cursor } pageInfo { endCursor hasNextPage } }"))
        inner = graphql.get_named_type(field.type)
        if isinstance(inner, graphql.GraphQLObjectType):
            for other, below in inner.fields.items():
                if "after" in below.args:
                    needed = "".join(
                        f" {each}: ${each}"
                        for each, argument in below.args.items()
                        if each in _PAGE or isinstance(argument.type, GraphQLNonNull)
                    )
                    found.append(_on(name, field, f"{{ {other}({needed}) {{ pageInfo {{ endCursor }} }} }}", below))
    return found


_PAGE: Final = ("first", "last", "after", "before")


def _on(name: str, field: graphql.GraphQLField, selected: str, below: graphql.GraphQLField | None = None) -> str:
    declared = dict(field.args.items())
    if below is not None:
        declared |= {each: argument for each, argument in below.args.items() if f"${each}" in selected}
    variables = ", ".join(f"${each}: {argument.type}" for each, argument in declared.items())
    passed = ", ".join(f"{each}: ${each}" for each in field.args)
    return (
        f"query Paged{f'({variables})' if variables else ''} {{ {name}{f'({passed})' if passed else ''} {selected} }}"
    )


def good(random: Random, kinds: Sequence[OperationType] = tuple(OperationType)) -> Given:
    """One that fits the schema; what it names may not be there."""
    while True:
        text = random.choice(documents())
        node = _operation_of(text)
        if node.operation in kinds:
            break
    variables = {}
    for each in node.variable_definitions or ():
        type_ = graphql.type_from_ast(schema(), each.type)
        assert graphql.is_input_type(type_)
        name = each.variable.name.value
        if isinstance(type_, GraphQLNonNull) or random.random() < 0.4:
            variables[name] = _value(random, name, type_)
    return {"query": text, "variables": variables}


@cache
def _operation_of(text: str) -> graphql.OperationDefinitionNode:
    (node,) = (each for each in graphql.parse(text).definitions if isinstance(each, graphql.OperationDefinitionNode))
    return node


def _value(random: Random, name: str, type_: Any) -> Any:  # noqa: C901, PLR0911, PLR0912 - a case for each kind of type
    match type_:
        case GraphQLNonNull():
            return _value(random, name, type_.of_type)
        case GraphQLList():
            return [_value(random, name.removesuffix("s"), type_.of_type) for _ in range(random.choice((1, 2)))]
        case GraphQLEnumType():
            return random.choice(list(type_.values))
        case GraphQLInputObjectType():
            names = [
                each
                for each, field in type_.fields.items()
                if isinstance(field.type, GraphQLNonNull) or random.random() < 0.3
            ]
            if type_.is_one_of:
                names = [random.choice(list(type_.fields))]
            return {each: _value(random, each, type_.fields[each].type) for each in names}
    if name in _THERE:
        return random.choice(_THERE[name])
    match type_.name:
        case "Int":
            return random.choice((1, 3, 60))
        case "Float":
            return random.choice((1.0, 0.5, 100.0))
        case "Boolean":
            return random.random() < 0.5
        case "Revision":
            return str(random.choice((0, 1, 3, 4, 5, MAX_COUNTER)))
        case "DateTime":
            return random.choice(("2026-01-01T00:00:00Z", "2036-01-01T00:00:00+14:00"))
        case "JSON":
            return {}
        case "Cursor":
            return random_cursor(random)
    return random.choice(("x", "billing", "CHG-1"))


def random_cursor(random: Random) -> str:
    """Of any kind and for anything, made by this API, or forged."""
    if random.random() < 0.3:
        return mutation.random_cursor(random)
    key = ShardKey(random.choice(("billing", "search", "z")), random.choice(("0", "2", "zz")))
    number = random.choice((0, 1, 4, 2**31, MAX_COUNTER))
    return random.choice(
        (
            lambda: cursors.SHARDS.write(key),
            lambda: cursors.HISTORY.write(number),
            lambda: cursors.CHANGES.write(number),
            lambda: cursors.NAMESPACES.write(key.namespace),
            lambda: cursors.STREAM.write(StreamPosition("epoch", number, UNMARKED)),
            lambda: cursors.NODES.write(random.choice(("node-a", "zz"))),
            lambda: cursors.PLANS.write(number),
            lambda: cursors.REFUSALS.write(number),
            lambda: cursors.MOVES.write((random.choice(list(MoveReason)), key)),
            lambda: cursors.DIFF.write((cursors.DiffScope(key.namespace, 0, number), key)),
        )
    )()


def nearly(random: Random, kinds: Sequence[OperationType] = tuple(OperationType)) -> Given:
    """One that is nearly right."""
    given = good(random, kinds)
    changed = random.choice(("variables", "variables", "variables", "document", "request", "named", "good"))
    if changed == "variables":
        given["variables"] = mutation.other_value(random, given["variables"])
    elif changed == "document":
        data = mutation.with_other_tokens(random, given["query"].encode())
        given["query"] = data.decode("utf-8", "replace")
    elif changed == "request":
        names = {"operationName": None, "extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}}
        given = mutation.other_value(random, given | names)
    elif changed == "named":
        text = given.pop("query")
        digest = sha256_hex(text)
        given |= random.choice(
            (
                {"documentId": SHA256 + digest},
                {"documentId": digest[:-1]},
                {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": digest}}},
                {"query": text, "extensions": {"persistedQuery": {"version": 1, "sha256Hash": digest}}},
            )
        )
    return given


def body_of(given: Any) -> bytes:
    """As JSON; lone surrogates are escaped, which is how they arrive."""
    try:
        return json.dumps(given).encode()
    except RecursionError:
        return b"[" * 100_000
