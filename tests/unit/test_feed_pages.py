"""Pages of history that several subscribers need are read once, and forgotten when none is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from persistence.feed import pages
from persistence.feed.pages import Pages
from persistence.feed.tailer import FeedLimits
from persistence.model.records import ShardDiff
from persistence.model.stream import StreamHead
from tests.support.scripted_replica import ONE, TWO, at, put, turns

_LIMITS = FeedLimits(page=2)


class _Stream:
    """Of two rows."""

    def __init__(self) -> None:
        self.read = 0

    async def after(self, *_: Any, **__: Any) -> tuple[StreamHead, Sequence[ShardDiff], bool]:
        self.read += 1
        return StreamHead(at(2).epoch, 2, 0, at(2).mark, at(2).mark), [put(ONE), put(TWO)], True


async def test_a_page_is_read_once_while_it_is_asked_for_and_again_after_that(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _Stream()
    kept = Pages(cast("Any", stream), _LIMITS)
    read = await asyncio.gather(*(kept.after(at(0), None) for _ in range(3)))
    assert [len(page.diffs) for page in read] == [2, 2, 2]
    assert (stream.read, len(kept)) == (1, 1)
    monkeypatch.setattr(pages, "KEPT_SECONDS", 0.0)
    another = Pages(cast("Any", stream), _LIMITS)
    await another.after(at(0), None)
    await turns()
    assert len(another) == 0
    await another.after(at(0), None)
    assert stream.read == 3
    assert len(kept) == 1
