"""YAML: what a parser of it reads is what was written."""

from __future__ import annotations

import json

import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from graph.cli.yaml import to_yaml

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda items: st.lists(items, max_size=4) | st.dictionaries(TEXT, items, max_size=4),
    max_leaves=15,
)


@given(JSON)
def test_any_json_is_read_as_it_was_written(document: object) -> None:
    assert yaml.safe_load(to_yaml(document)) == document


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "~", "null", "Null", "yes", "No", "on", "OFF", "y", "true", "False", ".inf", ".NaN", "nan"),
        *("1", "0x1f", "0o17", "012", "1e3", "1_000", "12:30:45", "2026-01-31", "2026-01-31T09:30:00Z", "<<", "="),
        *("- a", "a: b", "a #b", "#a", "a\nb", "a\tb", "a\u2028b", "\ufeffa", "\x85", "*a", "&a", "!a", "%a", "@a"),
        *("'", '"', "\\", "node-1", "release night", "a  b", "a ", "---", "...", "\U0001f600", "\x7f", "é"),
    ],
)
def test_text_is_never_taken_for_anything_else(text: str) -> None:
    assert yaml.safe_load(to_yaml({text: [text]})) == {text: [text]}


def test_it_reads_like_yaml() -> None:
    document = {"name": "orders", "version": "3", "freezes": [], "nodes": [{"id": "node-1", "weight": 1.0}, [1, None]]}
    assert to_yaml(document).splitlines() == [
        "name: orders",
        'version: "3"',
        "freezes: []",
        "nodes:",
        "  - id: node-1",
        "    weight: 1.0",
        "  - - 1",
        "    - null",
    ]
    assert json.loads(json.dumps(document)) == yaml.safe_load(to_yaml(document))
