"""A table kept in a file comes back as it was, or not at all."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from graph.client.cache_file import CacheFile
from graph.client.live_table import LiveTable
from graph.client.selection import Selection
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


def test_a_table_comes_back_with_its_place_in_the_stream(tmp_path: Path) -> None:
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
        ("omnirelay.mesh.v1", "omnirelay.mesh.v0"),
        ('"selection":null', '"selection":["orders"]'),
        ('"orders":["', '"others":["'),
        ('"shards":[', '"shards":'),
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
