"""JSON of megabytes is read as any other JSON is, in slices."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.auth.principal import UNRESTRICTED, Principal, Scope
from graph.http import bodies
from graph.http.bodies import LARGE_BYTES, Bodies, has_no_mutation
from graph.http.requests import BadRequest, read_json

BODIES: Final = Bodies(1_000, 2_000)
VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=6), inner, max_size=12),
    max_leaves=60,
)


async def read(text: str | bytes) -> Any:
    return await BODIES.read_json(text, "the body")


def shards(count: int) -> list[dict[str, Any]]:
    return [
        {"shardId": f"s-{n}", "tags": ["},", n, {"a": [1.5, "},{"]}], "note": 'quote " and }, é 🚚'}
        for n in range(count)
    ]


@pytest.mark.parametrize("indent", [None, 1])
async def test_a_bulk_change_is_read_as_it_is(indent: int | None) -> None:
    body = {
        "query": "mutation M",
        "variables": {"input": {"shards": shards(5_000), "change": {"reason": "x" * 100_000}}},
    }
    text = json.dumps(body, indent=indent)
    assert len(text) > LARGE_BYTES
    assert await read(text.encode()) == body
    assert await read(json.dumps(body, ensure_ascii=False)) == body


async def test_other_tasks_have_their_turns_while_it_is_read() -> None:
    text = json.dumps({"variables": {"unused": shards(40_000)}})
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await read(text)
    counting.cancel()
    assert turns >= len(text) / 1_000_000


@given(VALUES, st.sampled_from([None, 1, 3]))
def test_in_windows_of_any_size_it_is_the_same(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    for window in (64, 90):  # the longest number fits
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bodies, "LARGE_BYTES", 0)
            patch.setattr(bodies, "_SMALL_WINDOW", 40)
            patch.setattr(bodies, "_WINDOW", window)
            assert asyncio.run(Bodies(1, 1).read_json(text, "it")) == read_json(text, "it")


@given(st.text('[]{},:"\\ae1-. \n', max_size=60))
def test_what_is_no_json_is_none_in_slices_either(text: str) -> None:
    def outcome(reading: Any) -> Any:
        try:
            return reading()
        except BadRequest:
            return BadRequest

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bodies, "LARGE_BYTES", 0)
        patch.setattr(bodies, "_SMALL_WINDOW", 4)
        patch.setattr(bodies, "_WINDOW", 70)
        sliced = outcome(lambda: asyncio.run(Bodies(1, 1).read_json(text, "it")))
    assert sliced == outcome(lambda: read_json(text, "it"))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 300_000,
        '{"a":' * 100_000,
        '["' + "x" * 300_000,
        "[" + "1" * 300_000 + "]",
        "[" + "{}," * 100_000 + "]",
        "[" + "1," * 200_000 + "1",
        '{"a":1}' + " " * 300_000 + "{}",
        '{"a":1,' + '"b":[1],' * 50_000 + "}",
    ],
)
async def test_what_is_large_and_no_json_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match=r"is not JSON|is nested too deeply"):
        await read(text)
    with pytest.raises(BadRequest, match="is not UTF-8"):
        await read(text.encode() + b"\xff")


async def test_what_would_take_a_multiple_of_its_size_is_refused_as_too_large() -> None:
    for values in ("[],", "1,", '"",', "[{"):
        with pytest.raises(BadRequest, match="holds more than 500,000 values") as refused:
            await read("[" + values * 500_001 + "]")
        assert refused.value.code == "PAYLOAD_TOO_LARGE"
    with pytest.raises(BadRequest, match="holds a string of over 1,048,576 characters") as refused:
        await read('["' + "x" * 1_100_000 + '"]')
    assert refused.value.code == "PAYLOAD_TOO_LARGE"


async def test_numbers_are_those_of_the_standard_library() -> None:
    body = [{"n": 10**30}, {"n": float("inf")}, {"n": -0.0}] * 20_000
    assert await read(json.dumps(body)) == body


def test_the_limit_is_that_of_a_mutation_for_callers_that_may_write() -> None:
    reader = Principal("reader", frozenset({Scope.READ}))
    assert [BODIES.most_of(each) for each in (reader, UNRESTRICTED)] == [1_000, 2_000]


@pytest.mark.parametrize(
    ("beginning", "expected"),
    [
        (b'{"query":"{ __typename }","variables":{"x":"', True),
        (b' {\n "query" : "query { a(b: \\"c\\") }", "variables', True),
        (b'{"query":"mutation ($i: I!) { a(i: $i) { b } }","variables":{"', False),
        (b'{"query":"fragment f on Mutation { b } \\u006dutation { a }","variables', False),
        (b'{"query":"{ __typename', False),
        (b'{"variables":{"x":"', False),
        (b'{"documentId":"sha256:00","variables":{"x":"', False),
        (b'{"query":"' + b"x" * 100_000 + b'"', False),
        (b"", False),
    ],
)
def test_that_a_body_has_no_mutation_shows_in_its_beginning_or_not(beginning: bytes, expected: bool) -> None:  # noqa: FBT001
    assert has_no_mutation(beginning) is expected
