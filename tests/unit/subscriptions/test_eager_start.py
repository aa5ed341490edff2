"""Coroutines that are started at once, and finished elsewhere only if they have to wait."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable

import pytest

from graph.subscriptions.groups import start_eagerly


class Log:
    """What happened, in order."""

    def __init__(self) -> None:
        self.said: list[str] = []

    async def work(self, *waits: Awaitable[object]) -> None:
        try:
            for awaited in waits:
                self.said.append(f"got {await awaited}")
            self.said.append("done")
        finally:
            self.said.append("left")


async def nothing() -> str:
    return "nothing"


async def test_what_need_not_wait_is_done_at_once() -> None:
    log = Log()
    assert start_eagerly(log.work(nothing())) is None
    assert log.said == ["got nothing", "done", "left"]


async def test_what_has_to_wait_goes_on_where_it_is_awaited() -> None:
    log, first, second = Log(), asyncio.Event(), asyncio.Event()
    suspended = start_eagerly(log.work(first.wait(), asyncio.sleep(0), second.wait()))
    assert suspended is not None
    assert log.said == []
    finishing = asyncio.ensure_future(suspended)
    first.set()
    second.set()
    await finishing
    assert log.said == ["got True", "got None", "got True", "done", "left"]


async def test_what_it_waits_for_may_come_before_it_is_awaited() -> None:
    log, event = Log(), asyncio.Event()
    suspended = start_eagerly(log.work(event.wait()))
    event.set()
    await asyncio.sleep(0)
    assert log.said == []
    assert suspended is not None
    await suspended
    assert log.said == ["got True", "done", "left"]


async def test_what_it_raises_at_once_is_raised_at_once() -> None:
    with pytest.raises(ZeroDivisionError):
        start_eagerly(_failing(nothing()))


async def test_what_it_raises_later_is_raised_where_it_is_awaited() -> None:
    event = asyncio.Event()
    suspended = start_eagerly(_failing(event.wait()))
    assert suspended is not None
    event.set()
    with pytest.raises(ZeroDivisionError):
        await suspended


async def test_what_it_waited_for_may_fail_and_that_is_its_to_handle() -> None:
    log: list[str] = []

    async def work() -> None:
        try:
            await failing
        except ZeroDivisionError:
            log.append("handled")

    failing = asyncio.get_running_loop().create_future()
    suspended = start_eagerly(work())
    failing.set_exception(ZeroDivisionError())
    assert suspended is not None
    await suspended
    assert log == ["handled"]


async def test_cancelled_while_it_waits_it_is_left() -> None:
    log = Log()
    suspended = start_eagerly(log.work(asyncio.Event().wait()))
    assert suspended is not None
    task = asyncio.ensure_future(suspended)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log.said == ["left"]


async def test_closed_before_it_is_awaited_it_leaves_nothing_behind() -> None:
    log, tasks = Log(), asyncio.all_tasks()
    suspended = start_eagerly(log.work(asyncio.Event().wait()))
    assert suspended is not None
    suspended.close()
    suspended.close()
    assert log.said == ["left"]
    assert asyncio.all_tasks() == tasks
    del suspended
    gc.collect()  # a coroutine that was forgotten would warn here, and warnings are errors


async def _failing(awaited: Awaitable[object]) -> None:
    await awaited
    raise ZeroDivisionError
