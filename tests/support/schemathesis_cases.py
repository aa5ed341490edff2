"""Operations as Schemathesis makes them up from the file of the schema.

Imported while a test runs only: Schemathesis takes a second of a processor to import.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import graphql
import schemathesis
from graphql import ObjectFieldNode, StringValueNode
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.graphql import nodes

from tests.support.cursors import CURSORS

_SCHEMA: Final = schemathesis.graphql.from_path(Path(__file__).parents[2] / "frontend-queries" / "schema.graphql")


def cases_of(operation: str) -> st.SearchStrategy[schemathesis.Case[Any]]:
    """Those that the schema allows and those that it does not, of `Query.shards` and the like."""
    root, _, field = operation.partition(".")
    found = _SCHEMA[root][field]
    return st.one_of([found.as_strategy(generation_mode=mode) for mode in GenerationMode])


_names = st.from_regex("[a-zA-Z]{1,8}", fullmatch=True)
_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_json = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=3), max_leaves=6
)


def _literal(value: Any) -> graphql.ValueNode:
    """A JSON value as GraphQL writes it: like JSON, but for the quotes around names."""
    if isinstance(value, dict):
        fields = [ObjectFieldNode(name=graphql.NameNode(value=name), value=_literal(value[name])) for name in value]
        return graphql.ObjectValueNode(fields=tuple(fields))
    if isinstance(value, list):
        return graphql.ListValueNode(values=tuple(map(_literal, value)))
    return StringValueNode(value=value) if isinstance(value, str) else graphql.parse_const_value(json.dumps(value))


_small = st.integers(0, 4).map(lambda number: nodes.String(str(number)))
schemathesis.graphql.scalar("Revision", _small | st.integers(0, 2**63 - 1).map(nodes.Int))
schemathesis.graphql.scalar("DateTime", st.datetimes().map(lambda moment: nodes.String(moment.isoformat() + "Z")))
schemathesis.graphql.scalar("Cursor", st.sampled_from(CURSORS).map(nodes.String))
schemathesis.graphql.scalar("JSON", _json.map(_literal))
