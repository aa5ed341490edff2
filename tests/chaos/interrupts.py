"""SIGTERM as Ctrl-C: who is asked to stop takes what he started along."""

from __future__ import annotations

import signal


def stop_like_ctrl_c() -> None:
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
