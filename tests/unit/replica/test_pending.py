"""Which shards the replica must not answer for, because this process has changed them since."""

from __future__ import annotations

from persistence.model.records import ShardKey
from persistence.replica.pending import Expectations

A, B = ShardKey("billing", "a"), ShardKey("billing", "b")
ELSEWHERE = ShardKey("search", "a")


def expecting() -> Expectations:
    """The shard A to change at revision 7; the replica is at 5."""
    expected = Expectations()
    expected.seen(5)
    expected.expect_shards(7, [A])
    return expected


def test_nothing_is_expected_to_begin_with() -> None:
    expected = Expectations()
    assert not expected.of_shard(A, None)
    assert not expected.of_namespace("billing")
    assert not expected.of_namespace(None)


def test_a_shard_that_was_changed_is_expected_and_so_is_what_would_list_it() -> None:
    expected = expecting()
    assert [expected.of_shard(key, None) for key in (A, B, ELSEWHERE)] == [True, False, False]
    assert (expected.of_namespace("billing"), expected.of_namespace("search")) == (True, False)
    assert expected.of_namespace(None)


def test_an_expectation_lasts_until_its_own_revision_has_come() -> None:
    expected = expecting()
    expected.seen(6)
    assert expected.of_shard(A, None)
    expected.seen(7)
    assert not expected.of_shard(A, None)
    assert not expected.of_namespace("billing")
    assert not expected.of_namespace(None)


def test_each_is_met_on_its_own() -> None:
    expected = expecting()
    expected.expect_shards(9, [B])
    expected.seen(7)
    assert (expected.of_shard(A, None), expected.of_shard(B, None)) == (False, True)
    assert expected.of_namespace("billing")


def test_of_one_shard_the_newest_counts() -> None:
    expected = expecting()
    expected.expect_shards(9, [A])
    expected.seen(8)
    assert expected.of_shard(A, None)
    assert expected.of_namespace("billing")


def test_a_namespace_of_which_it_is_not_known_what_changed_is_expected_whole() -> None:
    expected = expecting()
    expected.expect_namespaces(8, ["search"])
    assert expected.of_shard(ELSEWHERE, None)
    assert expected.of_namespace("search")
    expected.seen(7)
    assert not expected.of_namespace("billing")
    assert expected.of_shard(ELSEWHERE, None)
    expected.seen(8)
    assert not expected.of_shard(ELSEWHERE, None)


def test_what_the_replica_has_already_is_not_expected() -> None:
    """The feed may be faster than the answer to the writer."""
    expected = Expectations()
    expected.expect_shards(5, [A])
    expected.seen(5)
    assert not expected.of_shard(A, None)
    assert not expected.of_namespace(None)


def test_an_older_revision_does_not_take_the_place_of_a_newer_one() -> None:
    """Two commits may be noted in the other order: a list of their namespace waits for both."""
    expected = expecting()
    expected.expect_shards(6, [B])
    expected.expect_namespaces(6, ["billing"])
    expected.seen(6)
    assert expected.of_shard(A, None)
    assert expected.of_namespace("billing")
    assert not expected.of_shard(B, None)


def test_a_list_of_everything_is_expected_of_everything() -> None:
    expected = Expectations()
    expected.expect_all(7)
    assert expected.of_shard(A, None)
    assert expected.of_namespace("search")
    assert expected.of_namespace(None)
    expected.seen(7)
    assert not expected.of_shard(A, None)
    assert not expected.of_namespace("search")
