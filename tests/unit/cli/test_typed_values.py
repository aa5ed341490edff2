"""Values with a form of their own: labels, parameters, nodes that are supposed."""

from __future__ import annotations

from typing import Any

import click
import pytest

from graph.cli.options import KEY_VALUE, KeyValue, as_map
from graph.cli.shards.simulate import SUPPOSED_NODE, parameter_value, read_supposed_node


@pytest.mark.parametrize(
    ("text", "pair"),
    [("disk=ssd", ("disk", "ssd")), ("disk=", ("disk", "")), ("selector=disk=ssd", ("selector", "disk=ssd"))],
)
def test_a_pair_is_split_at_its_first_equals_sign(text: str, pair: tuple[str, str]) -> None:
    found = KEY_VALUE.convert(text, None, None)
    assert found == pair
    assert str(found) == text


@pytest.mark.parametrize("text", ["", "disk", "=ssd"])
def test_what_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="not of the form key=value"):
        KEY_VALUE.convert(text, None, None)


def test_a_key_has_one_value() -> None:
    assert as_map([KeyValue("a", "1"), KeyValue("b", "2"), KeyValue("a", "1")]) == {"a": "1", "b": "2"}
    with pytest.raises(click.UsageError, match="a is given twice: 1 and 2"):
        as_map([KeyValue("a", "1"), KeyValue("a", "2")])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("160", 160),
        ("null", None),
        ("strict", "strict"),
        ('"160"', "160"),
        ("disk=ssd", "disk=ssd"),
        ("", ""),
        ("NaN", "NaN"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_a_parameter_is_json_or_the_text_it_is(text: str, value: object) -> None:
    assert parameter_value(text) == value


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("node-7", {"nodeId": "node-7"}),
        ("node-7,weight=2,zone=b", {"nodeId": "node-7", "weight": 2, "zone": "b"}),
        ("n,region=eu,status=down", {"nodeId": "n", "region": "eu", "status": "DOWN"}),
        ("n,label.disk=ssd,label.a/b=", {"nodeId": "n", "labels": {"disk": "ssd", "a/b": ""}}),
    ],
)
def test_a_supposed_node_is_read_as_the_api_takes_it(text: str, given: dict[str, Any]) -> None:
    node = read_supposed_node(text)
    assert node.given == given
    assert str(node) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "does not begin with the id of a node"),
        ("weight=2", "does not begin with the id of a node"),
        ("n,weight", "weight is not of the form name=value"),
        ("n,weight=0", "weight must be a whole number from 1"),
        ("n,weight=1.5", "weight must be a whole number from 1"),
        ("n,weight=2,weight=3", "weight is given twice"),
        ("n,label.a=1,label.a=2", "label.a is given twice"),
        ("n,status=gone", "gone is no status: ACTIVE, "),
        ("n,colour=red", "colour is nothing a node has"),
    ],
)
def test_a_supposed_node_that_cannot_be_says_what_is_wrong(text: str, problem: str) -> None:
    with pytest.raises(click.BadParameter, match=problem):
        SUPPOSED_NODE.convert(text, None, None)
