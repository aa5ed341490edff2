"""A table put together from pages and diffs is the server's, however they interleave."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.client.records import Batch
from graph.client.table import LiveTable, Selection, StreamBroken
from persistence.model.records import Shard, ShardKey
from tests.support.streams import Stream

EVERYTHING = Selection()
ORDERS = Selection(frozenset({"orders"}))
TWO = Selection(frozenset({"orders", "billing"}))


def held(table: LiveTable) -> dict[ShardKey, Shard]:
    return {shard.key: shard for shards in table.shards.namespaces.values() for shard in shards.values()}


def followed(stream: Stream, selection: Selection = EVERYTHING) -> LiveTable:
    """A table that has followed the stream from its very beginning."""
    table = LiveTable("c0", 0, selection)
    table.apply(stream.batch(0, stream.head))
    return table


def three_shards() -> Stream:
    stream = Stream()
    for shard_id in ("s1", "s2", "s3"):
        stream.put("orders", shard_id)
    return stream


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """A few shards of two namespaces, created, given owners, deleted and created again."""
    stream = Stream()
    for _ in range(draw(st.integers(0, 24))):
        namespace = draw(st.sampled_from(["billing", "orders"]))
        shard_id = draw(st.sampled_from(["s1", "s2", "s3"]))
        if (namespace, shard_id) in stream.tables[-1] and draw(st.booleans()):
            stream.delete(namespace, shard_id)
        else:
            stream.put(namespace, shard_id, draw(st.sampled_from(["node-1", "node-2"])))
    return stream


@given(streams(), st.data())
def test_any_interleaving_of_pages_and_diffs_ends_as_the_servers_table(stream: Stream, data: st.DataObject) -> None:
    read_at = data.draw(st.integers(0, stream.head), label="first page read at")
    table = LiveTable(f"c{read_at}", read_at, EVERYTHING)
    after: ShardKey | None = None
    more = True
    while more:
        page = stream.page(read_at, after, size=2)
        table.begin_by(f"c{read_at}", read_at)
        table.put(page, read_at)
        more = bool(page)
        after = page[-1].key if page else None
        read_at = data.draw(st.integers(0, stream.head), label="next page read at")
    first = table.position
    ends = sorted(data.draw(st.sets(st.integers(first, stream.head)), label="batches end at") | {stream.head})
    for batch in stream.batches(first, ends):
        table.apply(batch)
        if table.whole:
            assert held(table) == stream.tables[batch.revision]
            for namespace in ("billing", "orders"):
                assert table.fingerprint(namespace) == stream.claim(namespace, batch.revision).fingerprint
    assert table.whole
    assert (table.position, table.cursor) == (stream.head, f"c{stream.head}")


@given(streams(), st.data())
def test_what_changes_is_told_once_and_in_order_however_often_it_is_sent(stream: Stream, data: st.DataObject) -> None:
    table = LiveTable("c0", 0, EVERYTHING)
    mirror: dict[ShardKey, Shard] = {}
    while table.position < stream.head:
        start = data.draw(st.integers(0, table.position), label="sent again from")
        end = data.draw(st.integers(table.position + 1, stream.head), label="sent up to")
        for change in table.apply(stream.batch(start, end)):
            key = ShardKey(change.namespace, change.shard_id)
            assert mirror.get(key) == change.previous
            if change.current is None:
                del mirror[key]
            else:
                mirror[key] = change.current
        assert mirror == held(table) == stream.tables[table.position]


@pytest.mark.parametrize("selection", [EVERYTHING, TWO])
def test_a_revision_that_was_left_out_is_noticed(selection: Selection) -> None:
    stream = three_shards()
    whole = stream.batch(0, 3)
    table = LiveTable("c0", 0, selection)
    with pytest.raises(StreamBroken, match="after revision 1 came 3"):
        table.apply(replace(whole, diffs=[whole.diffs[0], whole.diffs[2]]))


def test_revisions_out_of_order_are_noticed() -> None:
    stream = three_shards()
    table = LiveTable("c0", 0, ORDERS)
    with pytest.raises(StreamBroken, match="after revision 2 came 1"):
        table.apply(replace(stream.batch(0, 2), diffs=[stream.diffs[1], stream.diffs[0]]))


def test_a_bookmark_beyond_the_last_diff_is_noticed_where_nothing_is_filtered_out() -> None:
    with pytest.raises(StreamBroken, match="up to revision 7 ended with 0"):
        LiveTable("c0", 0, EVERYTHING).apply(Batch("c7", 7, caught_up=True, diffs=[]))
    filtered = LiveTable("c0", 0, ORDERS)
    filtered.apply(Batch("c7", 7, caught_up=True, diffs=[]))
    assert filtered.position == 7


def test_of_several_namespaces_the_others_pass_by() -> None:
    stream = three_shards()
    stream.put("search", "s1")
    stream.put("billing", "s1")
    table = followed(stream, TWO)
    assert {shard.namespace for shard in held(table).values()} == {"orders", "billing"}
    assert table.position == 5


def test_a_fingerprint_of_long_ago_is_known_while_there_is_a_trail() -> None:
    stream = three_shards()
    table = followed(stream)
    table.begin_trail()
    stream.put("orders", "s1", "node-2")
    stream.delete("orders", "s2")
    table.apply(stream.batch(3, 5))
    for revision in (3, 4, 5):
        assert table.fingerprint_at("orders", revision) == stream.claim("orders", revision).fingerprint
    assert table.fingerprint_at("orders", 2) is None
    table.end_trail()
    assert table.fingerprint_at("orders", 3) is None
    assert table.fingerprint_at("orders", 5) == table.fingerprint("orders")
