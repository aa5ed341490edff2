"""Coroutines that are begun at once, and finished elsewhere only if they have to wait."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable

import pytest

from persistence.tasks import Begun


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
    assert Begun(log.work(nothing())).has_ended
    assert log.said == ["got nothing", "done", "left"]


async def test_what_has_to_wait_goes_on_where_it_is_awaited() -> None:
    log, first, second = Log(), asyncio.Event(), asyncio.Event()
    begun = Begun(log.work(first.wait(), asyncio.sleep(0), second.wait()))
    assert not begun.has_ended
    assert log.said == []
    finishing = asyncio.ensure_future(begun)
    first.set()
    second.set()
    await finishing
    assert log.said == ["got True", "got None", "got True", "done", "left"]


async def test_what_it_waits_for_may_come_before_it_is_awaited() -> None:
    log, event = Log(), asyncio.Event()
    begun = Begun(log.work(event.wait()))
    event.set()
    await asyncio.sleep(0)
    assert log.said == []
    assert not begun.has_ended
    await begun
    assert log.said == ["got True", "done", "left"]


async def test_what_it_raises_at_once_is_raised_at_once() -> None:
    with pytest.raises(ZeroDivisionError):
        Begun(_failing(nothing()))


async def test_what_it_raises_later_is_raised_where_it_is_awaited() -> None:
    event = asyncio.Event()
    begun = Begun(_failing(event.wait()))
    assert not begun.has_ended
    event.set()
    with pytest.raises(ZeroDivisionError):
        await begun


async def test_what_it_waited_for_may_fail_and_that_is_its_to_handle() -> None:
    log: list[str] = []

    async def work() -> None:
        try:
            await failing
        except ZeroDivisionError:
            log.append("handled")

    failing = asyncio.get_running_loop().create_future()
    begun = Begun(work())
    failing.set_exception(ZeroDivisionError())
    assert not begun.has_ended
    await begun
    assert log == ["handled"]


async def test_cancelled_while_it_waits_it_is_left() -> None:
    log = Log()
    begun = Begun(log.work(asyncio.Event().wait()))
    assert not begun.has_ended
    task = asyncio.ensure_future(begun)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log.said == ["left"]


async def test_cancelled_it_is_freed_without_the_collector() -> None:
    """What is in a cycle when everything is exempted from collection stays for good (decision 72)."""

    class Held:
        pass

    async def work(_: Held) -> None:
        await asyncio.Event().wait()

    held = Held()
    freed = weakref.ref(held)
    task = asyncio.ensure_future(Begun(work(held)))
    del held
    await asyncio.sleep(0)
    gc.disable()
    try:
        task.cancel()
        await asyncio.wait({task})
        del task
        assert freed() is None
    finally:
        gc.enable()


async def test_closed_before_it_is_awaited_it_leaves_nothing_behind() -> None:
    log, tasks = Log(), asyncio.all_tasks()
    begun = Begun(log.work(asyncio.Event().wait()))
    assert not begun.has_ended
    begun.close()
    begun.close()
    assert log.said == ["left"]
    assert asyncio.all_tasks() == tasks
    del begun
    gc.collect()  # a coroutine that was forgotten would warn here, and warnings are errors


async def _failing(awaited: Awaitable[object]) -> None:
    await awaited
    raise ZeroDivisionError
