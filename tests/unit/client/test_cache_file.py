"""A table kept in a file comes back as it was, or not at all."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from graph.client.cache_file import SLICE, CacheFile, replace_file
from graph.client.table import LiveTable, Selection
from tests.support.streams import Stream

EVERYTHING = Selection()


def a_table() -> LiveTable:
    stream = Stream()
    for shard_id in ("s1", "s2", "s3"):
        stream.put("orders", shard_id)
    stream.put("billing", "s1")
    stream.delete("billing", "s1")
    table = LiveTable("c0", 0, EVERYTHING)
    table.apply(stream.batch(0, stream.head))
    return table


def test_a_table_comes_back_with_its_position_in_the_stream(tmp_path: Path) -> None:
    table = a_table()
    CacheFile(tmp_path / "mesh.json", EVERYTHING).write(table)
    again = CacheFile(tmp_path / "mesh.json", EVERYTHING).read()
    assert again is not None
    assert again.shards.shards("orders") == table.shards.shards("orders")
    assert (again.position, again.cursor, again.whole) == (5, "c5", True)
    assert again.fingerprint("orders") == table.fingerprint("orders")


def test_no_file_is_no_table_and_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert CacheFile(tmp_path / "mesh.json", EVERYTHING).read() is None
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("node-1", "node-6"),
        ("s3", "s4"),
        ('"version":"1"', '"version":"2"'),
        ("ACTIVE", "ASLEEP"),
        ("omnirelay.mesh.v2", "omnirelay.mesh.v1"),
        ('"selection":null', '"selection":["orders"]'),
        ('"orders":["', '"others":["'),
        ('"shards":3', '"shards":4'),
        ("\n[", "\n{"),
        ("[{", ""),
        ('"position":"5"', '"position":"1"'),
    ],
)
def test_a_file_that_was_altered_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, before: str, after: str
) -> None:
    path = tmp_path / "mesh.json"
    CacheFile(path, EVERYTHING).write(a_table())
    content = path.read_text()
    assert before in content
    path.write_text(content.replace(before, after, 1))
    assert CacheFile(path, EVERYTHING).read() is None
    assert str(path) in caplog.text


def test_a_file_of_other_namespaces_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "mesh.json"
    CacheFile(path, EVERYTHING).write(a_table())
    assert CacheFile(path, Selection(frozenset({"orders"}))).read() is None


def test_a_file_that_cannot_be_written_is_logged_and_no_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        CacheFile(tmp_path / "nowhere" / "mesh.json", EVERYTHING).write(a_table())
    assert "cannot be kept in" in caplog.text


def test_a_table_that_has_not_moved_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "mesh.json"
    cache = CacheFile(path, EVERYTHING)
    table = a_table()
    cache.write(table)
    path.unlink()
    cache.write(table)
    assert not path.exists()


def test_what_is_left_of_a_file_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "mesh.json"
    CacheFile(path, EVERYTHING).write(a_table())
    content = path.read_bytes()
    for length in range(len(content) - 1):
        path.write_bytes(content[:length])
        assert CacheFile(path, EVERYTHING).read() is None, length
    assert caplog.text.count("holds no table that could be used") == len(content) - 1


def numbered(count: int) -> LiveTable:
    stream = Stream()
    for number in range(count):
        stream.put("orders", f"s{number}")
    table = LiveTable("c0", 0, EVERYTHING)
    table.apply(stream.batch(0, stream.head))
    return table


@pytest.mark.parametrize("count", [0, 1, SLICE - 1, SLICE, SLICE + 1, 5 * SLICE + 7])
def test_no_more_than_a_slice_is_encoded_or_parsed_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """The interpreter does nothing else meanwhile."""
    encoded: list[int] = []
    parsed: list[int] = []

    def dumps(value: Any, option: int) -> bytes:
        encoded.append(len(value) if isinstance(value, list) else 0)
        return orjson.dumps(value, option=option)

    def loads(line: bytes) -> Any:
        value = orjson.loads(line)
        parsed.append(len(value) if isinstance(value, list) else 0)
        return value

    own = SimpleNamespace(dumps=dumps, loads=loads, OPT_APPEND_NEWLINE=orjson.OPT_APPEND_NEWLINE)
    monkeypatch.setattr("graph.client.cache_file.orjson", own)
    cache, table = CacheFile(tmp_path / "mesh.json", EVERYTHING), numbered(count)
    steps = sum(1 for _ in cache.writing(table))
    assert steps == len(encoded) == 1 + -(-count // SLICE)
    assert (max(encoded), sum(encoded)) == (min(count, SLICE), count)
    again = cache.read()
    assert again is not None
    assert parsed == encoded
    assert again.shards.shards("orders") == table.shards.shards("orders")


def test_a_table_may_go_on_while_it_is_written(tmp_path: Path) -> None:
    stream, table = Stream(), LiveTable("c0", 0, EVERYTHING)
    for number in range(3 * SLICE):
        stream.put("orders", f"s{number}")
    table.apply(stream.batch(0, stream.head))
    before = dict(table.shards.shards("orders"))
    cache = CacheFile(tmp_path / "mesh.json", EVERYTHING)
    writing = cache.writing(table)
    next(writing)
    stream.put("orders", f"s{SLICE}", "node-2")
    stream.delete("orders", f"s{2 * SLICE}")
    stream.put("billing", "s1")
    table.apply(stream.batch(table.position, stream.head))
    for _ in writing:
        pass
    again = CacheFile(tmp_path / "mesh.json", EVERYTHING).read()
    assert again is not None
    assert (again.position, again.shards.shards("orders")) == (3 * SLICE, before)
    cache.write(table)
    again = CacheFile(tmp_path / "mesh.json", EVERYTHING).read()
    assert again is not None
    assert (again.position, again.shards.namespaces) == (3 * SLICE + 3, table.shards.namespaces)


def test_a_file_that_is_not_written_to_its_end_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "mesh.json"
    cache = CacheFile(path, EVERYTHING)
    cache.write(a_table())
    content = path.read_bytes()
    writing = cache.writing(numbered(3 * SLICE))
    next(writing)
    next(writing)
    writing.close()
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link_and_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    target, link, pipe = tmp_path / "target", tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(target)
    replace_file(link, b"content")
    assert (link.is_symlink(), target.read_bytes()) == (True, b"content")
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    replace_file(pipe, b"content")
    assert (pipe.is_fifo(), os.read(reader, 100)) == (True, b"content")
    os.close(reader)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe", "target"]
