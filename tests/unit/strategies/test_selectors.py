"""Which nodes a label selector matches, and the message for text that is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.model import Node
from strategies.selectors import read_selector

A_KEY = "a key of up to 128 letters, digits and ._/-, the first and last of them a letter or digit"
A_VALUE = "a value of up to 128 letters, digits and ._:-"
NODE = Node("node:1", 1, "eu", "eu-1", {"disk": "ssd", "empty": "", "in": "x", "example.com/rack": "r.1_a-b"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \t\r\n",
        "disk",
        "disk=ssd",
        "disk==ssd",
        "  disk =\tssd\n",
        "disk!=hdd",
        "gpu!=v100",
        "!gpu",
        "! gpu",
        "disk in (hdd, ssd)",
        "disk in(ssd)",
        "disk notin (hdd,nvme)",
        "gpu notin (v100)",
        "empty",
        "empty=",
        "empty=,disk",
        "empty!=x",
        "in in (x)",
        "notin!=x",
        "example.com/rack=r.1_a-b",
        "disk=ssd,!gpu,gpu!=a,empty",
        "node=node:1",
        "region=eu,zone in (eu-1)",
    ],
)
def test_a_selector_matches_the_node(text: str) -> None:
    assert read_selector(text).matches(NODE)


@pytest.mark.parametrize(
    "text",
    [
        "gpu",
        "!disk",
        "disk=SSD",
        "disk=",
        "disk!=ssd",
        "gpu=",
        "gpu in (a)",
        "disk in (hdd,nvme)",
        "disk notin (hdd,ssd)",
        "empty!=",
        "disk=ssd,gpu",
        "gpu,disk=ssd",
        "node!=node:1",
        "!zone",
        "region=us",
    ],
)
def test_a_selector_does_not_match_the_node(text: str) -> None:
    assert not read_selector(text).matches(NODE)


def test_a_label_comes_before_the_built_in_of_its_name() -> None:
    node = Node("a", 1, "eu", "eu-1", {"zone": "cold", "node": "other"})
    assert read_selector("zone=cold,node=other,region=eu").matches(node)


def test_a_node_that_tells_no_zone_has_none() -> None:
    assert read_selector("!zone,!region,zone!=eu-1").matches(Node("a"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("disk=ssd,", f"at character 10: expected {A_KEY}, found the end"),
        (",disk", f"at character 1: expected {A_KEY}, found ',disk'"),
        ("-disk", f"at character 1: expected {A_KEY}, found '-disk'"),
        ("disk ssd", "at character 6: expected =, ==, !=, in, notin or a comma, found 'ssd'"),
        ("disk = a b", "at character 10: expected a comma, found 'b'"),
        ("disk=a=b", "at character 7: expected a comma, found '=b'"),
        ("disk=a)", "at character 7: expected a comma, found ')'"),
        ("!disk=a", "at character 6: expected a comma, found '=a'"),
        ("disk in ssd", "at character 9: expected an opening bracket, found 'ssd'"),
        ("disk in (ssd", "at character 13: expected a comma or a closing bracket, found the end"),
        ("disk in ()", f"at character 10: expected {A_VALUE}, found ')'"),
        ("disk in (a,)", f"at character 12: expected {A_VALUE}, found ')'"),
        ("disk=\u00e4", f"at character 6: expected {A_VALUE}, found '\\xe4'"),
        ("disk=\ud800", f"at character 6: expected {A_VALUE}, found '\\ud800'"),
    ],
)
def test_what_cannot_be_read_is_shown_where_it_stands(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r"^cannot be read") as raised:
        read_selector(text)
    assert str(raised.value) == f"cannot be read {problem}"


@pytest.mark.parametrize("text", ["k" * 128, "k=" + "v" * 128, "k in (" + "v" * 128 + ")", "k=" + ",k=" * 340])
def test_lengths_up_to_their_limits_are_read(text: str) -> None:
    assert ",".join(requirement.text for requirement in read_selector(text).requirements) == text


@pytest.mark.parametrize("text", ["k" * 129, "k=" + "v" * 129, "k in (" + "v" * 129 + ")"])
def test_longer_keys_and_values_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="of up to 128 letters"):
        read_selector(text)


def test_a_selector_of_more_than_1024_characters_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^must have at most 1,024 characters, not 1,025$"):
        read_selector(" " * 1_025)


@pytest.mark.parametrize(
    ("text", "together"),
    [
        ("disk=ssd,disk!=ssd", "disk=ssd, disk!=ssd"),
        ("disk,gpu,!disk", "disk, !disk"),
        ("disk in (a),disk=b", "disk in (a), disk=b"),
        ("x, disk in (a,b) ,disk!=a,disk notin (b)", "disk in (a,b), disk!=a, disk notin (b)"),
        ("!disk,disk=", "!disk, disk="),
        ("node=a,node=b", "node=a, node=b"),
        ("!node", "!node"),
    ],
)
def test_requirements_that_nothing_can_meet_are_named(text: str, together: str) -> None:
    assert read_selector(text).contradiction() == f"matches no node, whatever its labels: {together}"


@pytest.mark.parametrize(
    "text",
    ["", "disk,disk!=a,disk notin (b)", "disk in (a,b),disk!=a", "!disk,disk!=a", "a=1,b=2", "!zone,!region", "node"],
)
def test_what_some_node_could_meet_is_no_contradiction(text: str) -> None:
    assert read_selector(text).contradiction() is None


REQUIREMENTS = [
    "k", "!k", "k=a", "k=b", "k=", "k!=a", "k!=b", "k!=", "k in (a,b)", "k in (c)", "k notin (a,b)", "node", "node!=n",
]  # fmt: skip
NODES = [Node("n"), *(Node(node, 1, labels={"k": value}) for node in "nm" for value in ("", "a", "b", "c", "d"))]


@given(st.lists(st.sampled_from(REQUIREMENTS), max_size=5))
def test_a_selector_is_contradictory_exactly_if_no_node_can_match(requirements: list[str]) -> None:
    selector = read_selector(",".join(requirements))
    assert (selector.contradiction() is None) == any(selector.matches(node) for node in [*NODES, Node("m")])


@given(st.text(st.sampled_from("ab!=,() \tin"), max_size=24))
def test_what_is_read_is_the_requirements_one_by_one(text: str) -> None:
    try:
        selector = read_selector(text)
    except ValueError as error:
        assert str(error).startswith("cannot be read at character ")  # noqa: PT017 - most texts are no selectors
        return
    again = read_selector(",".join(requirement.text for requirement in selector.requirements))
    assert again.requirements == selector.requirements


@given(st.text(max_size=64))
def test_any_text_is_read_or_refused_with_a_reason_in_ascii(text: str) -> None:
    try:
        read_selector(text)
    except ValueError as error:
        assert str(error).isascii()  # noqa: PT017 - most texts are no selectors
