"""What the C library is asked to give back."""

from __future__ import annotations

import ctypes
import sys

import pytest

from graph.server.heap import return_large_blocks, trim


def resident_pages() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - one line of the kernel's
        return int(file.read().split()[1])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's heap, and /proc")
def test_what_lies_free_between_small_blocks_is_given_back() -> None:
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    library.free.argtypes = [ctypes.c_void_p]
    # 40 MB in blocks that are not mapped separately, with small ones between them that stay.
    large = [(library.malloc(100_000), library.malloc(64)) for _ in range(400)]
    for block, _ in large:
        ctypes.memset(block, 1, 100_000)
    before = resident_pages()
    for block, _ in large:
        library.free(block)
    trim()
    assert before - resident_pages() > 5_000  # of 4 KiB, so 20 MB
    for _, small in large:
        library.free(small)


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[object] = []

    def without_mallopt(name: object) -> object:
        loaded.append(name)
        return object()

    monkeypatch.setattr("ctypes.CDLL", without_mallopt)
    return_large_blocks()
    trim()
    assert loaded == [None, None]
