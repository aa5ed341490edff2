"""Long answers are encoded in slices, to the same bytes as in one go."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from graph.execution import slices
from graph.execution.encoding import encode_in_slices, encode_json
from graph.execution.slices import Slices

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(codec="utf-8"), max_size=5)
    | st.datetimes(timezones=st.just(UTC))
    | st.just(orjson.Fragment(b'{"kept":1}'))
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('abc"\u00e4', max_size=3), inner, max_size=3),
)


@given(VALUES, st.integers(0, 200))
def test_the_bytes_are_the_same(value: Any, times: int) -> None:
    for each in (value, [value] * times, {"data": {"a": {"nodes": [value] * times}, "b": value}}):
        assert asyncio.run(encode_in_slices(each)) == encode_json(each)


def test_what_only_the_standard_library_writes_is_written() -> None:
    value = {"data": {"lone": "\ud800", "long": 2**70, "at": datetime(2026, 1, 1, tzinfo=UTC)}}
    assert orjson.loads(asyncio.run(encode_in_slices(value)).replace(b"\\ud800", b"")) == {
        "data": {"lone": "", "long": float(2**70), "at": "2026-01-01T00:00:00Z"}
    }


async def test_others_run_between_slices(monkeypatch: Any) -> None:
    clock = iter(range(1_000))
    monkeypatch.setattr(slices, "perf_counter", lambda: next(clock))
    ran: list[str] = []

    async def work(name: str) -> None:
        pieces = Slices()
        for _ in range(3):
            ran.append(name)
            await pieces.pause()

    await asyncio.gather(work("a"), work("b"))
    assert ran == ["a", "b"] * 3


async def test_however_much_work_there_is_one_slice_is_done_in_a_turn_of_the_loop(monkeypatch: Any) -> None:
    monkeypatch.setattr(slices, "SLICE_SECONDS", -1.0)
    loop = asyncio.get_running_loop()
    done: list[int] = [0]

    handles: list[asyncio.Handle] = []

    def turn() -> None:
        done.append(0)
        handles[:] = [loop.call_soon(turn)]

    async def work() -> None:
        pieces = Slices()
        for _ in range(3):
            await pieces.pause()
            done[-1] += 1

    turn()
    try:
        works = [asyncio.create_task(work()) for _ in range(20)]
        works[7].cancel()
        await asyncio.gather(*works, return_exceptions=True)
    finally:
        handles[0].cancel()
    assert sum(done) == 19 * 3
    assert max(done) == 1


async def test_what_is_short_does_not_wait_for_all_that_is_long(monkeypatch: Any) -> None:
    monkeypatch.setattr(slices, "SLICE_SECONDS", -1.0)
    ended: list[str] = []

    async def work(name: str, parts: int) -> None:
        pieces = Slices()
        for _ in range(parts):
            await pieces.pause()
        ended.append(name)

    long = [asyncio.create_task(work("long", 20)) for _ in range(10)]
    for _ in range(20):
        await asyncio.sleep(0)
    await asyncio.gather(*long, *(work("short", 1) for _ in range(3)))
    assert ended[:3] == ["short"] * 3
