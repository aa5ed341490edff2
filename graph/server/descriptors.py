"""Descriptors of this process: how many it may have, and has."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from typing import Final

_MOST: Final = 1_048_576
"""Where the system sets no limit."""


def file_limit() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _MOST if soft == resource.RLIM_INFINITY else soft


def raise_file_limit() -> None:
    """To what this process may set it to itself: shells and service managers begin with 1,024, of which a socket takes
    one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def open_files() -> int:
    """How many are open, about."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(os.listdir(folder))  # noqa: PTH208 - no path is needed of any
    return 64


def backlog() -> int:
    """Connections that the kernel holds until they are accepted: all of them may be at once, before any is counted."""
    return min(2_048, max(16, file_limit() // 8))
