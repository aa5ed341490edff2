"""A table is verified by the server's claims and by its own records; whatever is wrong with it is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from graph.client.records import Claim, Fingerprint
from graph.client.table import LiveTable, Selection
from graph.client.verification import TableVerification, TableWrong
from tests.support.streams import Stream, a_shard

ALL = 1_000


def a_stream() -> Stream:
    stream = Stream()
    for number in range(10):
        stream.put("orders", f"s{number}")
    stream.put("billing", "s1")
    stream.delete("orders", "s9")
    return stream


def followed(stream: Stream) -> LiveTable:
    table = LiveTable("c0", 0, Selection())
    table.apply(stream.batch(0, stream.head))
    return table


def claims(stream: Stream, revision: int | None = None) -> list[Claim]:
    at = stream.head if revision is None else revision
    return [stream.claim("billing", at), stream.claim("orders", at)]


def test_a_table_that_is_the_servers_is_proven() -> None:
    stream = a_stream()
    verification = TableVerification(followed(stream))
    wanted = verification.needs_claims
    verification.add_claims(claims(stream))
    assert (wanted, verification.needs_claims) == (True, False)
    assert verification.step(ALL)


def test_a_slice_is_all_that_is_looked_at_in_one_go() -> None:
    stream = a_stream()
    verification = TableVerification(followed(stream))
    verification.add_claims(claims(stream))
    assert [verification.step(4) for _ in range(3)] == [False, False, True]


def test_a_record_altered_in_place_is_found() -> None:
    stream = a_stream()
    table = followed(stream)
    shard = table.shards.get("orders", "s5")
    object.__setattr__(shard, "owner_node_id", "node-666")
    verification = TableVerification(table)
    verification.add_claims(claims(stream))
    with pytest.raises(TableWrong, match="namespace orders was altered here"):
        verification.step(ALL)


@pytest.mark.parametrize("shard_id", ["s5", "s77"])
def test_a_record_put_into_the_table_behind_its_back_is_found(shard_id: str) -> None:
    stream = a_stream()
    table = followed(stream)
    table.shards.put([a_shard("orders", shard_id, "node-666", version=2, revision=99)])
    with pytest.raises(TableWrong, match="orders was altered here"):
        TableVerification(table).step(ALL)


def test_a_record_that_is_gone_is_found() -> None:
    stream = a_stream()
    table = followed(stream)
    table.shards.remove("orders", "s5", 99)
    with pytest.raises(TableWrong, match="orders was altered here"):
        TableVerification(table).step(ALL)


def test_a_server_that_holds_something_else_is_asked_twice() -> None:
    stream = a_stream()
    verification = TableVerification(followed(stream))
    wrong = [claim._replace(fingerprint=Fingerprint(7, claim.fingerprint.shards)) for claim in claims(stream)]
    verification.add_claims(wrong)
    assert verification.needs_claims
    with pytest.raises(TableWrong, match=r"billing should have digest 0{31}7 and 1 shards at revision 11, but has"):
        verification.add_claims(wrong)


def test_a_server_that_lagged_behind_when_it_was_asked_first_is_no_reason() -> None:
    stream = a_stream()
    verification = TableVerification(followed(stream))
    verification.add_claims(claims(stream, 10))
    assert verification.needs_claims
    verification.add_claims(claims(stream))
    assert verification.step(ALL)


def test_a_namespace_that_is_missing_altogether_is_found() -> None:
    stream = a_stream()
    without = [diff for diff in stream.diffs if diff.namespace != "billing"]
    table = LiveTable("c0", 0, Selection(frozenset({"orders"})))
    table.apply(replace(stream.batch(0, stream.head), diffs=without))
    verification = TableVerification(table)
    verification.add_claims(claims(stream))
    with pytest.raises(TableWrong, match="billing should have"):
        verification.add_claims(claims(stream))


def test_a_namespace_that_the_server_never_speaks_of_is_not_proven() -> None:
    stream = a_stream()
    verification = TableVerification(followed(stream))
    for _ in range(4):
        verification.add_claims([stream.claim("orders", stream.head)])
    with pytest.raises(TableWrong, match="says nothing of billing"):
        verification.add_claims([stream.claim("orders", stream.head)])


def test_a_claim_from_the_future_waits_until_the_table_is_there() -> None:
    stream = a_stream()
    table = followed(stream)
    before = stream.head
    stream.put("orders", "s1", "node-2")
    verification = TableVerification(table)
    verification.add_claims(claims(stream))
    assert not verification.step(ALL)
    assert not verification.needs_claims
    assert not verification.auditing
    table.apply(stream.batch(before, stream.head))
    assert verification.step(ALL)


def test_a_claim_that_the_table_has_overtaken_counts() -> None:
    stream = a_stream()
    table = followed(stream)
    said = claims(stream)
    verification = TableVerification(table)
    before = stream.head
    for owner in ("node-2", "node-3"):
        stream.put("orders", "s1", owner)
    table.apply(stream.batch(before, stream.head))
    verification.add_claims(said)
    assert verification.step(ALL)


def test_changes_between_two_slices_do_not_disturb_it() -> None:
    stream = a_stream()
    table = followed(stream)
    verification = TableVerification(table)
    verification.add_claims(claims(stream))
    done = verification.step(3)
    for number in range(8):
        before = stream.head
        stream.put("orders", f"s{number}", "node-9")
        table.apply(stream.batch(before, stream.head))
        done = verification.step(3)
    assert done
