"""How commands work on the database itself, not through a server: opened by the settings, with errors as exits."""

from __future__ import annotations

import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from graph.cli.errors import Exit, Failure
from graph.cli.options import settings_from
from graph.cli.progress import StepLog

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

_MAKE_ONE: Final = (
    "Name its folder with --data-dir (OMNIRELAY_DATA_DIR), or its database with --database-url; 'omnirelay serve' and "
    "'omnirelay db upgrade' make a new one."
)


def run_on_database(
    config: Path | None,
    data_dir: Path | None,
    database_url: str | None,
    work: Callable[[str], Awaitable[T]],
    *,
    create: bool = False,
) -> T:
    """What `work` returns for the database's URL. Without `create` an embedded one must be there.

    Raises Failure for whatever the store raises, and KeyboardInterrupt for SIGINT, SIGTERM and SIGHUP, once what this
    command has started is stopped.
    """
    import asyncio  # noqa: PLC0415 - clients need not load what talks to databases

    from graph.embedded_postgres.server import EmbeddedPostgresError, NoClusterError  # noqa: PLC0415 - same
    from graph.server.composition import open_database  # noqa: PLC0415 - same
    from persistence.errors import (  # noqa: PLC0415 - same
        FutureCursor,
        InvalidArgument,
        SchemaOutOfDate,
        StoreError,
        TransientConflict,
    )

    settings = settings_from(config, Exit.INVALID, data_dir=data_dir, database_url=database_url)

    async def run() -> T:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        with _interrupts(_Interrupts(task, asyncio.get_running_loop())) as interrupts:
            async with open_database(settings, StepLog(), create=create) as url:
                with interrupts.allowed():
                    return await work(url)

    try:
        return asyncio.run(run())
    except asyncio.CancelledError as error:
        raise KeyboardInterrupt from error
    except NoClusterError as error:
        raise Failure(Exit.NOT_FOUND, f"{error}.", [_MAKE_ONE]) from error
    except SchemaOutOfDate as error:
        raise Failure(Exit.NO, f"The schema is not what this program needs: {error}.") from error
    except FutureCursor as error:
        raise Failure(Exit.INVALID, f"There is no such moment yet: {error}") from error
    except InvalidArgument as error:
        raise Failure(Exit.INVALID, f"{error}.") from error
    except TransientConflict as error:
        raise Failure(Exit.UNAVAILABLE, f"Nothing was done: {error}.") from error
    except (StoreError, EmbeddedPostgresError, OSError) as error:
        raise Failure(Exit.UNAVAILABLE, f"No database: {str(error).rstrip('.')}.") from error


class _Interrupts:
    """The first signal cancels the task. A second one interrupts work that does not give way, and that alone: while
    PostgreSQL is started or stopped nothing does."""

    def __init__(self, task: asyncio.Task[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._task = task
        self._loop = loop
        self._came = False
        self._allowed = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        if self._came and self._allowed:
            self._allowed = False
            raise KeyboardInterrupt
        self._came = True
        self._loop.call_soon_threadsafe(self._task.cancel)

    @contextmanager
    def allowed(self) -> Iterator[None]:
        self._allowed = True
        try:
            yield
        finally:
            self._allowed = False


@contextmanager
def _interrupts(interrupts: _Interrupts) -> Iterator[_Interrupts]:
    """Until the context ends. Signals are for the main thread alone; one that is ignored, as SIGHUP
    is with `nohup`, stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, interrupts)
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
