"""What a namespace may constrain whatever its strategy."""

from __future__ import annotations

import pytest

from strategies.constraints import CONSTRAINTS, contradictions

DEFAULTS = {name: parameter.default for name, parameter in CONSTRAINTS.items()}


def test_a_default_constrains_nothing() -> None:
    assert DEFAULTS == {
        "selector": "",
        "maxLoadPercent": None,
        "loadBy": "count",
        "maxShardsPerNode": None,
        "replicas": 1,
        "spread": "none",
    }


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_every_default_is_allowed(name: str) -> None:
    assert CONSTRAINTS[name].problem(CONSTRAINTS[name].default) is None


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("selector", None, "must be a label selector of at most 1,024 characters"),
        (
            "selector",
            "disk ssd",
            "cannot be read at character 6: expected =, ==, !=, in, notin or a comma, found 'ssd'",
        ),
        ("maxLoadPercent", 99, "must be a whole number from 100 to 10,000, or null"),
        ("maxLoadPercent", 110.0, "must be a whole number from 100 to 10,000, or null"),
        ("loadBy", "size", "must be one of count, capacity"),
        ("maxShardsPerNode", 0, "must be a whole number from 1 to 1,000,000, or null"),
        ("replicas", 17, "must be a whole number from 1 to 16"),
        ("replicas", None, "must be a whole number from 1 to 16"),
        ("spread", "rack", "must be one of none, zone, region"),
    ],
)
def test_a_value_out_of_its_rule_is_refused(name: str, value: object, problem: str) -> None:
    assert CONSTRAINTS[name].problem(value) == problem


def test_a_selector_that_contradicts_itself_is_a_contradiction() -> None:
    assert list(contradictions(DEFAULTS | {"selector": "a=1,a=2"})) == [
        ("selector", "matches no node, whatever its labels: a=1, a=2")
    ]


@pytest.mark.parametrize("given", [{}, {"spread": "zone"}, {"loadBy": "capacity"}, {"selector": "a=1"}])
def test_a_value_without_effect_is_no_contradiction(given: dict[str, object]) -> None:
    assert list(contradictions(DEFAULTS | given)) == []
