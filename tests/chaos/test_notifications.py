"""Notifications dropped and doubled, however the bytes arrive."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.notifications import Notifications, Rewriter

MESSAGES = st.lists(st.tuples(st.sampled_from("ADCZ"), st.binary(max_size=12)), max_size=8)


def written(messages: list[tuple[str, bytes]]) -> bytes:
    return b"".join(kind.encode() + (len(body) + 4).to_bytes(4, "big") + body for kind, body in messages)


@given(MESSAGES, st.lists(st.integers(0, 200)), st.integers(0, 2))
def test_only_notifications_are_touched(messages: list[tuple[str, bytes]], cuts: list[int], copies: int) -> None:
    notifications = Notifications(copies)
    rewriter = Rewriter(notifications)
    data = written(messages)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in pairwise(places)]
    passed = b"".join(map(rewriter, pieces))
    expected = [message for message in messages for _ in range(copies if message[0] == "A" else 1)]
    assert passed == written(expected)
    assert notifications.tampered == (0 if copies == 1 else sum(kind == "A" for kind, _ in messages))
