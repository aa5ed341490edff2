"""Strategies and parameters as a configuration may name them."""

from __future__ import annotations

from typing import Any

import pytest

from strategies.catalogue import (
    DEFAULT_STRATEGY,
    STRATEGIES,
    parameter_problems,
    parameters_digest,
    strategy_problem,
)


def test_the_strategies_are_those_of_the_design() -> None:
    assert set(STRATEGIES) == {"ring", "rendezvous", "locality"}
    assert DEFAULT_STRATEGY == "rendezvous"


@pytest.mark.parametrize("name", ["ring", "rendezvous", "locality"])
def test_a_known_strategy_is_accepted(name: str) -> None:
    assert strategy_problem(name) is None


@pytest.mark.parametrize(
    ("written", "meant"), [("rendevous", "rendezvous"), ("rings", "ring"), ("localty", "locality")]
)
def test_a_misspelt_strategy_hears_which_was_probably_meant(written: str, meant: str) -> None:
    assert strategy_problem(written) == (
        f"there is no strategy '{written}': known are locality, rendezvous, ring; did you mean {meant}?"
    )


@pytest.mark.parametrize("name", ["", "xyz", "\ud800", "x" * 100_000])
def test_a_strategy_like_none_we_have_hears_which_there_are(name: str) -> None:
    problem = strategy_problem(name)
    assert problem is not None
    assert problem.endswith(": known are locality, rendezvous, ring")
    assert problem.isascii()
    assert len(problem) < 200


@pytest.mark.parametrize(
    ("strategy", "parameters"),
    [
        ("ring", {}),
        ("ring", {"virtualNodes": 1}),
        ("ring", {"virtualNodes": 4_096}),
        ("locality", {"mode": "strict", "regionBoost": 16, "zoneBoost": 64}),
        ("rendezvous", {}),
    ],
)
def test_parameters_within_their_rules_are_accepted(strategy: str, parameters: dict[str, Any]) -> None:
    assert list(parameter_problems(strategy, parameters)) == []


@pytest.mark.parametrize("value", [0, 4_097, -1, 1.0, "160", True, None, []])
def test_a_number_out_of_its_range_is_refused(value: object) -> None:
    problems = list(parameter_problems("ring", {"virtualNodes": value}))
    assert problems == [("virtualNodes", "must be a whole number from 1 to 4,096")]


@pytest.mark.parametrize("value", ["Prefer", "", 1, None, [], {}])
def test_a_choice_that_is_none_is_refused(value: object) -> None:
    assert list(parameter_problems("locality", {"mode": value})) == [("mode", "must be one of prefer, strict")]


def test_a_misspelt_parameter_hears_which_was_probably_meant() -> None:
    assert list(parameter_problems("ring", {"virtualnodes": 1})) == [
        ("virtualnodes", "there is no parameter 'virtualnodes': known are virtualNodes; did you mean virtualNodes?")
    ]


def test_a_strategy_without_parameters_says_so() -> None:
    assert list(parameter_problems("rendezvous", {"virtualNodes": 1})) == [
        ("virtualNodes", "there is no parameter 'virtualNodes': this strategy takes none")
    ]


def test_a_default_written_out_is_the_same_configuration() -> None:
    assert parameters_digest("ring", {}) == parameters_digest("ring", {"virtualNodes": 160})


def test_the_order_of_parameters_does_not_count() -> None:
    one = parameters_digest("locality", {"zoneBoost": 2, "regionBoost": 3})
    assert one == parameters_digest("locality", {"regionBoost": 3, "zoneBoost": 2})


def test_another_strategy_or_value_is_another_configuration() -> None:
    digests = {
        parameters_digest("ring", {}),
        parameters_digest("ring", {"virtualNodes": 161}),
        parameters_digest("rendezvous", {}),
        parameters_digest("locality", {}),
        parameters_digest("locality", {"mode": "strict"}),
        parameters_digest("locality", {"zoneBoost": 65}),
    }
    assert len(digests) == 6


def test_the_digest_of_a_configuration_never_changes() -> None:
    """It is stored: another value for the same configuration would look like a reconfiguration.

    sha256sum of ["rendezvous",1,{}] and of ["ring",1,{"virtualNodes":160}].
    """
    rendezvous, ring = parameters_digest("rendezvous", {}), parameters_digest("ring", {})
    assert rendezvous == "1c374407db097632af479d8c33a89fe3f57d9ba9d7ed48b126e9806fbd828517"
    assert ring == "3613786711b3ac046792c934518681511ca63e2a793d0da70aed037318519482"
