"""What `make way` counts: which calls are steps, and whose."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.call_trace import CallTrace

SOURCE = """
import asyncio

def step(): return 1

def steps():
    for _ in range(3):
        yield step()

async def waiting():
    for _ in range(3):
        await asyncio.sleep(0)

async def both():
    await asyncio.gather(asyncio.create_task(waiting(), name="a"), asyncio.create_task(waiting(), name="b"))
"""


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CallTrace]:
    """Of the modules `traced_one`, and `traced_two` that calls it while it is imported."""
    monkeypatch.syspath_prepend(str(tmp_path / "here"))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "traced_one.py").write_text(SOURCE)
    (tmp_path / "here" / "traced_two.py").write_text("import traced_one\ntraced_one.step()\n")
    before = sys.getprofile()
    yield CallTrace(tmp_path, ["here"])
    sys.setprofile(before)
    for name in ("traced_one", "traced_two"):
        sys.modules.pop(name, None)


def test_a_generator_that_is_resumed_is_one_step(trace: CallTrace) -> None:
    module = importlib.import_module("traced_one")
    trace.begin()
    list(module.steps())
    names = [name for _, _, name in trace.end()["steps"]]
    assert names == ["steps", "step", "step", "step"]


def test_short_lived_frames_are_told_apart_though_their_addresses_are_used_again(trace: CallTrace) -> None:
    module = importlib.import_module("traced_one")
    trace.begin()
    for _ in range(1_000):
        module.step()
    assert len(trace.end()["steps"]) == 1_000


def test_steps_belong_to_the_task_that_makes_them(trace: CallTrace) -> None:
    module = importlib.import_module("traced_one")
    trace.begin()
    asyncio.run(module.both())
    ended = trace.end()
    steps = [(ended["owners"][owner].split()[0], file, name) for owner, file, name in ended["steps"]]
    file = str(Path("here", "traced_one.py"))
    assert steps[1:] == [("a", file, "waiting"), ("b", file, "waiting")]


def test_imports_and_other_folders_are_no_steps(trace: CallTrace) -> None:
    trace.begin()
    importlib.import_module("traced_two")
    assert trace.end() == {"owners": [], "steps": []}


def test_nothing_is_noted_before_it_begins_or_after_it_ends(trace: CallTrace) -> None:
    module = importlib.import_module("traced_one")
    trace.begin()
    trace.end()
    module.step()
    assert trace.end()["steps"] == []
