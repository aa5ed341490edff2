"""Cursors read back as they were written, and nothing else is one."""

from __future__ import annotations

import base64
import string
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC
from typing import Any

import mmh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.codec import cursors
from persistence.codec.cursors import DiffScope
from persistence.errors import BadCursor
from persistence.model.records import (
    IDENTIFIER_PATTERN,
    MARK_BYTES,
    MAX_COUNTER,
    NAME_PATTERN,
    UNMARKED,
    ChangeMark,
    MoveReason,
    ShardKey,
    StreamPosition,
)

identifiers = st.from_regex(IDENTIFIER_PATTERN, fullmatch=True).filter(str.isascii)
names = st.from_regex(NAME_PATTERN, fullmatch=True)
counters = st.integers(0, MAX_COUNTER)
marks = st.just(UNMARKED) | st.builds(ChangeMark, counters, st.binary(min_size=MARK_BYTES, max_size=MARK_BYTES))
keys = st.builds(ShardKey, names, identifiers)
times = st.none() | st.datetimes(timezones=st.just(UTC))
scopes = st.builds(DiffScope, st.none() | names, counters, counters, times, times)

READERS: list[Callable[[str, str], Any]] = [
    cursors.STREAM.read,
    cursors.SHARDS.read,
    cursors.HISTORY.read,
    cursors.DIFF.read,
    cursors.CHANGES.read,
    cursors.NAMESPACES.read,
    cursors.NODES.read,
    cursors.PLANS.read,
    cursors.MOVES.read,
]


@given(names, counters, marks)
def test_a_position_in_the_stream_reads_back(epoch: str, revision: int, mark: ChangeMark) -> None:
    position = StreamPosition(epoch, revision, mark)
    assert cursors.STREAM.read(cursors.STREAM.write(position), "after") == position


def test_a_cursor_that_was_issued_before_cursors_named_a_change_is_a_position_in_no_history() -> None:
    """It is to be refused as what it is, and not as damaged."""
    cursor = cursors._encoded(b"sepoch\x0032" + cursors._check(b"sepoch\x0032"))  # noqa: SLF001 - as they were made
    expected = StreamPosition("epoch", 32, UNMARKED)
    assert cursors.STREAM.read(cursor, "after") == expected
    assert cursors.STREAM.write(expected) == cursor


@pytest.mark.parametrize("mark", [("7",), ("7", "0" * 15), ("7", "0" * 17), ("7", "0" * 15 + "G"), ("-7", "0" * 16)])
def test_a_position_with_half_a_change_is_no_cursor(mark: tuple[str, ...]) -> None:
    body = "\0".join(("sepoch", "7", *mark)).encode()
    forged = cursors._encoded(body + cursors._check(body))  # noqa: SLF001 - as below
    with pytest.raises(BadCursor):
        cursors.STREAM.read(forged, "after")


def _spelled(kind: str, *fields: str) -> str:
    """A cursor as the file that defines them describes it, made with the standard library."""
    body = kind.encode() + "\0".join(fields).encode()
    check = mmh3.hash(body, seed=0, signed=False).to_bytes(4, "big")
    return base64.urlsafe_b64encode(body + check).rstrip(b"=").decode()


@given(keys, scopes, counters, marks, st.sampled_from(MoveReason))
def test_cursors_are_spelled_as_they_ever_were(
    key: ShardKey, scope: DiffScope, counter: int, mark: ChangeMark, reason: MoveReason
) -> None:
    number, (namespace, shard_id) = str(counter), key
    marked = () if mark == UNMARKED else (str(mark.change_id), mark.hash.hex())
    times = ["" if time is None else time.isoformat() for time in (scope.start_time, scope.end_time)]
    scoped = (scope.namespace or "", str(scope.start), str(scope.end), *times)
    assert cursors.STREAM.write(StreamPosition(shard_id, counter, mark)) == _spelled("s", shard_id, number, *marked)
    assert cursors.SHARDS.write(key) == _spelled("k", namespace, shard_id)
    assert cursors.HISTORY.write(counter) == _spelled("h", number)
    assert cursors.DIFF.write((scope, key)) == _spelled("d", *scoped, namespace, shard_id)
    assert cursors.CHANGES.write(counter) == _spelled("c", number)
    assert cursors.NAMESPACES.write(namespace) == _spelled("n", namespace)
    assert cursors.NODES.write(shard_id) == _spelled("o", shard_id)
    assert cursors.PLANS.write(counter) == _spelled("p", number)
    assert cursors.MOVES.write((reason, key)) == _spelled("m", reason.value, namespace, shard_id)
    assert cursors.REFUSALS.write(counter) == _spelled("r", number)


@given(keys, scopes, counters)
def test_a_place_in_a_list_reads_back(key: ShardKey, scope: DiffScope, counter: int) -> None:
    assert cursors.SHARDS.read(cursors.SHARDS.write(key), "after") == key
    assert cursors.DIFF.read(cursors.DIFF.write((scope, key)), "after") == (scope, key)
    assert cursors.HISTORY.read(cursors.HISTORY.write(counter), "after") == counter
    assert cursors.CHANGES.read(cursors.CHANGES.write(counter), "after") == counter
    assert cursors.NAMESPACES.read(cursors.NAMESPACES.write(key.namespace), "after") == key.namespace
    assert cursors.NODES.read(cursors.NODES.write(key.shard_id), "after") == key.shard_id
    assert cursors.PLANS.read(cursors.PLANS.write(counter), "after") == counter


@given(st.sampled_from(MoveReason), keys)
def test_a_place_among_moves_reads_back(reason: MoveReason, key: ShardKey) -> None:
    assert cursors.MOVES.read(cursors.MOVES.write((reason, key)), "after") == (reason, key)


@given(st.text() | st.text(string.ascii_letters + string.digits + "-_="), st.sampled_from(READERS))
def test_no_other_string_is_a_cursor(text: str, read: Callable[[str, str], Any]) -> None:
    with pytest.raises(BadCursor) as caught:
        read(text, "before")
    assert caught.value.errors[0].field == "before"


@given(keys, st.data())
def test_a_cursor_with_any_character_changed_or_missing_is_no_cursor(key: ShardKey, data: st.DataObject) -> None:
    cursor = cursors.SHARDS.write(key)
    at = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.sampled_from(string.ascii_letters + string.digits + "-_").filter(lambda it: it != cursor[at]))
    for damaged in (cursor[:at] + other + cursor[at + 1 :], cursor[:at] + cursor[at + 1 :], cursor[:at]):
        with pytest.raises(BadCursor):
            cursors.SHARDS.read(damaged, "after")


@given(st.sampled_from([b"s", b"k", b"h", b"d", b"c", b"n", b"?"]), st.binary(max_size=60), st.sampled_from(READERS))
def test_a_forged_cursor_with_a_right_check_is_read_with_the_same_care(
    kind: bytes, place: bytes, read: Callable[[str, str], Any]
) -> None:
    body = kind + place
    forged = cursors._encoded(body + cursors._check(body))  # noqa: SLF001 - a forger knows how cursors are made
    with suppress(BadCursor):  # and no other error
        read(forged, "after")
