"""The rules each field obeys."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.errors import FieldError, InvalidArgument
from persistence.model.fields import (
    MAX_JSON_DEPTH,
    MAX_TEXT,
    Problems,
    canonical_json,
    capacity_problem,
    counter_problem,
    identifier_problem,
    json_problem,
    line_problem,
    locality_problem,
    name_problem,
    quoted,
    search_problem,
    stored_text_problem,
    text_problem,
)
from persistence.model.records import MAX_COUNTER


def nested(levels: int, innermost: Any = 1) -> Any:
    value = innermost
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


NAMES = ["a", "0", "shard-0001", "eu.billing:v2_x", "A" * 128]
OF_OTHER_SYSTEMS = [
    *("index[3]", "index[3]/1", "__consumer_offsets-7", ".kibana_1[0]", "10.0.0.1:7000@17000", "-9223372036854775808"),
    *("a/b", "a=b+c", "-a", ".a", "_a"),
]
NOT_EVEN_THERE = ["", "A" * 129, ":a", "@a", "[a", "]a", "/a", "+a", "=a", "a b", "a,b", "a\\b", "a^b", "a\n", "a\0"]
NO_ASCII = ["ä", "a\ud800", "\ud800", "\u0661"]


@pytest.mark.parametrize("value", [*NAMES, *OF_OTHER_SYSTEMS])
def test_an_identifier_is_accepted(value: str) -> None:
    assert identifier_problem(value) is None


@pytest.mark.parametrize("value", [*NOT_EVEN_THERE, *NO_ASCII])
def test_an_identifier_is_refused(value: str) -> None:
    assert identifier_problem(value)


@pytest.mark.parametrize("value", NAMES)
def test_a_name_is_accepted(value: str) -> None:
    assert name_problem(value) is None


@pytest.mark.parametrize("value", [*OF_OTHER_SYSTEMS, *NOT_EVEN_THERE, *NO_ASCII])
def test_a_name_is_refused(value: str) -> None:
    """A namespace ends at the first slash, and is joined with others by commas."""
    assert name_problem(value)


def test_an_identifier_that_is_too_long_hears_how_long_it_may_be() -> None:
    assert identifier_problem("a" * 1_500) == "is 1,500 characters long; at most 128 are allowed"


@pytest.mark.parametrize("value", ["eu", "eu-central/zone-b", "zone:b", "region:eu", f"{'r' * 128}/{'z' * 128}"])
def test_a_locality_is_accepted(value: str) -> None:
    assert locality_problem(value) is None


@pytest.mark.parametrize(
    "value",
    ["", "/", "eu/", "/b", "eu/b/c", "zone:", "rack:1", "zone:a/b", "zone:zone:a", "eu b", "eu\n", "r" * 129, "\udfff"],
)
def test_a_locality_is_refused(value: str) -> None:
    assert locality_problem(value)


@pytest.mark.parametrize("value", ["x", " padded ", "Grüße, 世界 🚚", "two\nlines", "🚚" * MAX_TEXT])
def test_a_text_is_accepted(value: str) -> None:
    assert text_problem(value) is None


@pytest.mark.parametrize("value", ["", " ", "\t\n", "\u2003", "a\0b", "a\ud800", "\udc00", "x" * (MAX_TEXT + 1)])
def test_a_text_is_refused(value: str) -> None:
    assert text_problem(value)


HIDDEN = ["\x1b[31m", "\r", "\x7f", "\x85", "\u202e", "\u2066", "\u200f", "\u061c", "\u2028"]
"""What a terminal obeys, and what shows a text in another order than it is stored in."""


@pytest.mark.parametrize("hidden", HIDDEN)
def test_what_a_terminal_would_obey_is_refused_with_its_position_and_can_still_be_looked_for(hidden: str) -> None:
    message = f"must not contain the control character U+{ord(hidden[0]):04X} (character 4)"
    assert text_problem(f"abc{hidden}") == line_problem(f"abc{hidden}") == message
    assert stored_text_problem(f"abc{hidden}") is None


@pytest.mark.parametrize("separator", ["\n", "\t"])
def test_an_actor_and_a_ticket_have_one_line(separator: str) -> None:
    assert text_problem(f"a{separator}b") is None
    assert (
        line_problem(f"a{separator}b") == f"must not contain the control character U+{ord(separator):04X} (character 2)"
    )


def test_a_lone_surrogate_is_named_with_its_position() -> None:
    assert text_problem("ab\ud83d") == "is not valid Unicode: a lone surrogate at character 3"


def test_the_bound_of_a_text_is_the_callers() -> None:
    assert text_problem("x" * 255, limit=255) is None
    assert text_problem("x" * 256, limit=255) == "is 256 characters long; at most 255 are allowed"


def test_a_search_may_be_blank_but_not_empty() -> None:
    assert search_problem(" ") is None
    assert search_problem("")
    assert search_problem("\0")
    assert search_problem("x" * 129)


@pytest.mark.parametrize("value", [0.0, -0.0, 0.1, 5e-324, 1e308])
def test_a_capacity_is_accepted(value: float) -> None:
    assert capacity_problem(value) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.1, -5e-324])
def test_a_capacity_is_refused(value: float) -> None:
    assert capacity_problem(value)


def test_a_counter_is_what_a_signed_column_holds() -> None:
    assert counter_problem(0) is None
    assert counter_problem(MAX_COUNTER) is None
    assert counter_problem(-1)
    assert counter_problem(MAX_COUNTER + 1)


@pytest.mark.parametrize(
    "value",
    [None, True, 0, 1.5, "x", [], {}, {"a": [1, None, {"b": "🚚"}]}, 2**63 - 1, -(2**63), nested(MAX_JSON_DEPTH)],
)
def test_json_is_accepted(value: Any) -> None:
    assert json_problem(value) is None


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        [math.inf],
        {"a": "\0"},
        {"\0": 1},
        ["\ud800"],
        {"\ud800": 1},
        2**63,
        -(2**63) - 1,
        {"a": 10**5_000},
        b"bytes",
        {"a": {1, 2}},
        nested(MAX_JSON_DEPTH + 1),
        nested(MAX_JSON_DEPTH + 1, innermost=[]),
        nested(100_000),
        "x" * MAX_TEXT,
    ],
)
def test_json_is_refused(value: Any) -> None:
    assert json_problem(value)


def test_json_is_measured_as_it_is_written() -> None:
    assert json_problem("x" * (MAX_TEXT - 2)) is None
    assert json_problem("x" * (MAX_TEXT - 1)) == "is 1,025 characters long; at most 1,024 are allowed"


def test_json_is_written_in_one_way() -> None:
    assert canonical_json({"b": [1, "é"], "a": {"d": None, "c": 0.5}}) == '{"a":{"c":0.5,"d":null},"b":[1,"é"]}'


@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_a_value_in_a_message_is_bounded_and_can_be_written_anywhere(value: str) -> None:
    text = quoted(value)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) <= 40 * len(r"\U0001f69a") + 2


def test_problems_are_told_all_at_once() -> None:
    problems = Problems()
    problems.add("a", None)
    problems.add("b", "is wrong")
    problems.add("c", "is wrong too")
    with pytest.raises(InvalidArgument) as caught:
        problems.raise_if_any()
    assert caught.value.errors == (FieldError("b", "is wrong"), FieldError("c", "is wrong too"))
    assert str(caught.value) == "b: is wrong; c: is wrong too"


def test_no_problem_raises_nothing() -> None:
    problems = Problems()
    problems.add("a", None)
    problems.raise_if_any()
    assert list(problems) == []


def test_a_hundred_problems_are_enough() -> None:
    problems = Problems()
    for index in range(10_000):
        problems.add(f"shards[{index}].namespace", "must not be empty")
    assert len(list(problems)) == 100
