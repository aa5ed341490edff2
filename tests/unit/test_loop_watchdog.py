"""The watchdog of event loops sees what holds one up, and nothing else."""

from __future__ import annotations

import asyncio
import sys
from time import process_time

from tests.support.loop_watchdog import LIMIT_SECONDS, longest_turn, watching


def busy(seconds: float) -> None:
    end = process_time() + seconds
    while process_time() < end:
        pass


async def test_a_callback_that_computes_makes_the_loop_late() -> None:
    with watching() as watchdog:
        await asyncio.sleep(0)
        busy(2 * LIMIT_SECONDS)
    assert watchdog.longest >= 2 * LIMIT_SECONDS


async def test_a_thread_that_computes_does_not_and_one_that_holds_the_interpreter_does() -> None:
    async def computing(_: int) -> None:
        await asyncio.to_thread(busy, 10 * LIMIT_SECONDS)

    assert await longest_turn(computing) < LIMIT_SECONDS
    # One call into C, which nothing interrupts.
    with watching() as watchdog:
        await asyncio.to_thread(sorted, [str(number) for number in range(200_000, 0, -1)], key=None)
    assert watchdog.longest >= LIMIT_SECONDS


async def test_what_another_process_does_is_not_seen() -> None:
    code = "import time\nend = time.process_time() + 0.1\nwhile time.process_time() < end: pass"

    async def beside(_: int) -> None:
        others = [await asyncio.create_subprocess_exec(sys.executable, "-c", code) for _ in range(2)]
        await asyncio.gather(*[other.wait() for other in others])

    assert await longest_turn(beside) < LIMIT_SECONDS
