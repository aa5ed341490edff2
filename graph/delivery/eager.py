"""Starting a coroutine at once, and only if it has to wait going on with it elsewhere.

A frame for a socket that is not backed up is sent without waiting for anything. Making a task of each, or awaiting them
one after the other, would cost more than the sending itself, or let one slow socket hold up all. Python 3.12 has eager
tasks for this; this is the part of them that is needed, for 3.11.
"""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any


def start(work: Coroutine[Any, Any, object]) -> Rest | None:
    """Run it until it first has to wait. Null if it is done by then; what it raises is raised."""
    try:
        waited_for = work.send(None)
    except StopIteration:
        return None
    return Rest(work, waited_for)


class Rest:
    """What is left of a coroutine. To be awaited once, or closed."""

    def __init__(self, work: Coroutine[Any, Any, object], waited_for: Any) -> None:
        self._work = work
        self._waited_for = waited_for

    def __await__(self) -> Generator[Any, Any, None]:
        waited_for = self._waited_for
        try:
            while True:
                try:
                    answer = yield waited_for
                except Exception as error:  # noqa: BLE001 - it is the coroutine's
                    waited_for = self._work.throw(error)
                else:
                    waited_for = self._work.send(answer)
        except StopIteration:
            return
        finally:
            self.close()

    def close(self) -> None:
        self._work.close()
