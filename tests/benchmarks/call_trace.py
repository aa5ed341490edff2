"""The program with a profile hook that notes each call of a project file: what `way_of_data` counts.

    python -m tests.benchmarks.call_trace FD serve --port 0     SIGUSR1 begins a trace, SIGUSR2 ends it
    python -m tests.benchmarks.call_trace FD mesh shards list   the whole run is one trace

`FD` is an inherited descriptor that takes lines: `begun` once SIGUSR1 is obeyed, and the JSON of each trace. The
program is started by its entry point, as a shell does, so that no module of it is named here.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from types import FrameType
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
FOLDERS: Final = ("graph", "persistence", "strategies", "migrations")


class CallTrace:
    """A profile function, for sys.setprofile and threading.setprofile. Does nothing until `begin`.

    A frame counts once: a coroutine or generator that is resumed is a `call`, too. Frames under the `<module>` frame of
    an import do not count. Code that Python generates, such as the methods of a dataclass, is of no file.
    """

    def __init__(self, root: Path = ROOT, folders: Sequence[str] = FOLDERS) -> None:
        self._root = root
        self._prefixes = tuple(f"{root / folder}{os.sep}" for folder in folders)
        self._on = False
        self._frames: dict[int, FrameType] = {}
        """By id, and alive until `end`, so that no id is given to a second frame."""
        self._owners: dict[int, object] = {}
        """Tasks and threads, by id and alive likewise, in the order of their first calls."""
        self._steps: list[tuple[int, str, str]] = []

    def begin(self) -> None:
        """In this thread at once; in others only if they started after `threading.setprofile`."""
        self._frames, self._owners, self._steps = {}, {}, []
        self._on = True
        sys.setprofile(self)

    def end(self) -> dict[str, Any]:
        """`owners`: name and coroutine of each task, or the name of a thread. `steps`: index of the owner, path of the
        file from the root, qualified name; in the order of the calls."""
        sys.setprofile(None)
        self._on = False
        places = {key: place for place, key in enumerate(self._owners)}
        owners = [_name(owner) for owner in self._owners.values()]
        steps = [(places[key], os.path.relpath(file, self._root), name) for key, file, name in self._steps]
        self._frames, self._owners, self._steps = {}, {}, []
        return {"owners": owners, "steps": steps}

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if not self._on or event != "call" or id(frame) in self._frames:
            return
        file = frame.f_code.co_filename
        if not file.startswith(self._prefixes) or _is_importing(frame):
            return
        owner = _owner()
        self._frames[id(frame)] = frame
        self._owners.setdefault(id(owner), owner)
        self._steps.append((id(owner), file, frame.f_code.co_qualname))


def _is_importing(frame: FrameType) -> bool:
    """Whether the frame or one of its callers is a `<module>`; the program's own, `__main__`, is under all of them."""
    caller: FrameType | None = frame
    while caller is not None:
        # What a test runner executes without a module has a name, too.
        name = caller.f_globals.get("__name__")
        if caller.f_code.co_name == "<module>" and name != "__main__" and name in sys.modules:
            return True
        caller = caller.f_back
    return False


def _owner() -> object:
    """The task that runs, or else the thread."""
    with suppress(RuntimeError):
        task = asyncio.current_task()
        if task is not None:
            return task
    return threading.current_thread()


def _name(owner: object) -> str:
    if isinstance(owner, asyncio.Task):
        return f"{owner.get_name()} {getattr(owner.get_coro(), '__qualname__', '')}"
    assert isinstance(owner, threading.Thread)
    return owner.name


def main() -> None:
    descriptor, *sys.argv[1:] = sys.argv[1:]
    sys.argv[0] = "omnirelay"
    trace = CallTrace()
    threading.setprofile(trace)
    (entry_point,) = entry_points(group="console_scripts", name="omnirelay")
    program = entry_point.load()

    def write(line: str) -> None:
        with open(int(descriptor), "w", encoding="utf-8", closefd=False) as output:
            output.write(line + "\n")

    def begin(*_: object) -> None:
        trace.begin()
        write("begun")

    if sys.argv[1] == "serve":
        signal.signal(signal.SIGUSR1, begin)
        signal.signal(signal.SIGUSR2, lambda *_: write(json.dumps(trace.end())))
        program()
    trace.begin()
    try:
        program()
    finally:
        write(json.dumps(trace.end()))


if __name__ == "__main__":
    main()
