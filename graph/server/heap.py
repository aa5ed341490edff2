"""The C library's heap of a server process, which is to give back what an answer or a body took. Of other libraries
than glibc nothing is asked."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

_MMAP_THRESHOLD: Final = -3
"""M_MMAP_THRESHOLD: https://man7.org/linux/man-pages/man3/mallopt.3.html"""

_LARGE_BLOCK_BYTES: Final = 262_144

_WORTH_TRIMMING: Final = 16 * 1024 * 1024

TRIM_SECONDS: Final = 10
"""From one `trim` to the next."""


def return_large_blocks() -> None:
    """Have megabytes given back to the system as soon as they are freed: a body, or an answer.

    glibc maps blocks of 128 KiB and more separately, but takes the size of one that is freed, up to 32 MiB, for what
    belongs into its heap from then on, where one small block above keeps the rest.
    """
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


class _Statistics(ctypes.Structure):
    """glibc's `struct mallinfo2`, in bytes: https://man7.org/linux/man-pages/man3/mallinfo.3.html"""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def trim() -> None:
    """Give back the pages that have nothing in them but free blocks, where these are many: by itself glibc returns
    those at the end of its heap. After a siege 27 to 44 MB were kept so. It takes 1 to 6 ms.
    """
    with suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.mallinfo2.restype = _Statistics
        if library.mallinfo2().fordblks >= _WORTH_TRIMMING:
            library.malloc_trim(0)
