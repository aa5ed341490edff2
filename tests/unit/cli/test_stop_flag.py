"""Ctrl-C between two steps, at whatever instruction of the wait it arrives."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from graph.cli.progress import StopFlag, stop_after


@pytest.mark.parametrize("instruction", range(40))
def test_an_interrupt_at_any_instruction_of_the_wait_ends_it(instruction: int) -> None:
    """The handler runs in the thread that waits: it must need nothing that the wait holds."""
    left = instruction

    def trace(frame: FrameType, event: str, _argument: Any) -> Callable[..., Any] | None:
        nonlocal left
        frame.f_trace_opcodes = True
        if event == "opcode":
            if left == 0:
                os.kill(os.getpid(), signal.SIGINT)
            left -= 1
        return trace

    with stop_after("step") as stopping:
        sys.settrace(trace)
        try:
            stopping.wait(0.01)
        finally:
            sys.settrace(None)
        if left < 0:
            assert stopping.wait(60)
            assert stopping.is_set()


def test_a_second_interrupt_is_one() -> None:
    with stop_after("step") as stopping:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopping.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_wait_that_is_not_interrupted_ends_with_its_time() -> None:
    flag = StopFlag()
    assert not flag.wait(0.0)
    flag.set()
    assert flag.wait(60.0)
    flag.close()
