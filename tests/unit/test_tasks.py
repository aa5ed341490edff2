"""The end of a task that others wait for."""

from __future__ import annotations

import asyncio
import logging

import pytest

from persistence.tasks import end


async def test_a_task_that_takes_a_cancellation_for_an_answer_is_ended_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def deaf() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    task = asyncio.create_task(deaf(), name="deaf")
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        with caplog.at_level(logging.WARNING):
            await end(task, again_seconds=0.01)
    assert task.cancelled()
    assert "the task deaf goes on after it was cancelled" in caplog.text


async def test_what_it_ended_with_is_raised_but_for_the_cancellation() -> None:
    async def failing() -> None:
        raise ZeroDivisionError

    failed = asyncio.create_task(failing())
    await asyncio.sleep(0)
    with pytest.raises(ZeroDivisionError):
        await end(failed)
    task = asyncio.create_task(asyncio.sleep(60))
    await end(task)
    assert task.cancelled()


async def test_whatever_waits_for_its_end_can_be_cancelled_itself() -> None:
    async def deaf() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if ended:
                    raise

    ended: list[bool] = []
    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    ending = asyncio.create_task(end(task))
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    ended.append(True)
    await end(task)
