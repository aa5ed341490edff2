"""Tasks that go on until they are cancelled, and coroutines that are begun without a task."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any, Final, Generic, TypeVar, cast

_AGAIN_SECONDS: Final = 5.0

T = TypeVar("T")

_log = logging.getLogger(__name__)


async def end(task: asyncio.Task[Any], again_seconds: float = _AGAIN_SECONDS) -> None:
    """Cancel it, and wait until it has ended. Raises what it ended with, but for the cancellation.

    It is cancelled again every `again_seconds`: what a task waits for, in a library, may take a cancellation for an
    answer or be answered all the same, and then the task goes on. A server whose end waits for it would never end.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=again_seconds)
        if not task.done():
            _log.warning("the task %s goes on after it was cancelled; it is cancelled again", task.get_name())
    if not task.cancelled():
        task.result()


class Begun(Generic[T]):
    """A coroutine that was run until it first waits for something; making one raises what it raises by then. `result`
    is what it returned, if it `has_ended`. Else it is to be awaited once, or closed; `rest` is the same as a coroutine.

    Most of what sends and answers never waits, and a task for each would cost more than the work itself. Python 3.12
    has eager tasks; this is the part of them that is needed, for 3.11.
    """

    __slots__ = ("_awaited", "_work", "has_ended", "result")

    result: T

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        try:
            self._awaited = work.send(None)
            self.has_ended = False
        except StopIteration as ended:
            self.result = ended.value
            self.has_ended = True

    async def rest(self) -> T:
        return await self

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, Any, T]:
        while True:
            try:
                sent = yield self._awaited
            except BaseException as error:  # noqa: BLE001 - a cancellation above all, thrown to the coroutine
                resume = partial(self._work.throw, error)
            else:
                resume = partial(self._work.send, sent)
            try:
                self._awaited = resume()
            except StopIteration as ended:
                return cast("T", ended.value)
            finally:
                del resume  # an error in it leads to this frame, which would hold it
