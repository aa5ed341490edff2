"""SIGTERM as Ctrl-C: a process that is stopped ends those that it started."""

from __future__ import annotations

import signal


def stop_like_ctrl_c() -> None:
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
