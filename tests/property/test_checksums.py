"""Checksums of shards differ exactly where their contents differ; digests do not care for order."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC
from functools import reduce
from operator import xor
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from persistence.codec.encoding import digest_term, shard_checksum
from persistence.model.records import Pin, ShardContent, ShardKey, ShardStatus

# Few and short, so that equal values and values that merely look alike meet often.
TEXTS = st.text("aé0", min_size=0, max_size=2)
PINS = st.builds(Pin, TEXTS, TEXTS, st.none() | st.datetimes(timezones=st.just(UTC)))
VALUES = {
    "strategy": TEXTS,
    "owner_node_id": TEXTS,
    "leader_id": st.none() | TEXTS,
    "capacity_hint": st.sampled_from([0.0, -0.0, 5e-324, 1.0]) | st.floats(0, allow_infinity=False),
    "locality_hint": st.none() | TEXTS,
    "status": st.sampled_from(ShardStatus),
    "pinned": st.none() | PINS,
    "change_ticket": st.none() | TEXTS,
    "anti_affinity_group": st.none() | TEXTS,
}
CONTENTS = st.builds(ShardContent, **VALUES)
KEYS = st.builds(ShardKey, TEXTS, TEXTS)
ENTRIES = st.lists(
    st.tuples(TEXTS, st.integers(1, 2**63 - 1), st.binary(min_size=16, max_size=16).map(bytes.hex)),
    unique_by=lambda entry: entry[0],
    max_size=12,
)


def digest(entries: list[tuple[str, int, str]]) -> int:
    return reduce(xor, (digest_term(*entry) for entry in entries), 0)


def test_every_field_of_a_shards_content_is_covered_here() -> None:
    assert VALUES.keys() == {field.name for field in fields(ShardContent)}


@given(KEYS, CONTENTS, st.data())
def test_a_change_of_one_field_shows_in_the_checksum_exactly_if_it_is_one(
    key: ShardKey, content: ShardContent, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(VALUES)))
    other = replace(content, **{name: data.draw(VALUES[name])})
    assert (shard_checksum(key, content) == shard_checksum(key, other)) == (content == other)


@given(KEYS, KEYS, CONTENTS)
def test_another_identity_is_another_checksum(one: ShardKey, other: ShardKey, content: ShardContent) -> None:
    assert (shard_checksum(one, content) == shard_checksum(other, content)) == (one == other)


@given(KEYS, CONTENTS, KEYS, CONTENTS)
def test_equal_shards_have_equal_checksums_and_no_others(
    one: ShardKey, content: ShardContent, other: ShardKey, other_content: ShardContent
) -> None:
    same = (one, content) == (other, other_content)
    assert (shard_checksum(one, content) == shard_checksum(other, other_content)) == same


@given(ENTRIES, st.integers(0))
def test_a_digest_does_not_depend_on_order(entries: list[tuple[str, int, str]], seed: int) -> None:
    shuffled = entries.copy()
    Random(seed).shuffle(shuffled)
    assert digest(shuffled) == digest(entries)


@given(ENTRIES, ENTRIES)
def test_a_digest_tells_sets_of_shards_apart(
    one: list[tuple[str, int, str]], other: list[tuple[str, int, str]]
) -> None:
    assert (digest(one) == digest(other)) == (set(one) == set(other))


@given(ENTRIES.filter(bool))
def test_adding_and_removing_a_shard_are_one_operation(entries: list[tuple[str, int, str]]) -> None:
    *rest, last = entries
    assert digest(rest) ^ digest_term(*last) == digest(entries)
    assert digest(entries) ^ digest_term(*last) == digest(rest)
