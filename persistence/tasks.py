"""Tasks that go on until they are cancelled."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

_AGAIN_SECONDS: Final = 5.0

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
