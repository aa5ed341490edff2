"""What is derived of many shards field by field is what is derived of each of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from itertools import starmap
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from persistence.codec import hash_chain
from persistence.codec.columns import (
    as_json,
    changed_fields_of,
    content_columns,
    digest_terms,
    images,
    row_digests,
    shard_checksums,
)
from persistence.codec.encoding import digest_term, encode_texts, shard_checksum
from persistence.codec.images import changed_fields, write_image
from persistence.model.records import DiffKind, MoveReason, Pin, ShardContent, ShardKey, ShardStatus

ZONES: Final = (UTC, timezone(timedelta(hours=2)))
NAMES: Final = st.sampled_from(["a", "node-1", "0", "ä\n", '"\\'])
TIMES: Final = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.sampled_from(ZONES))  # noqa: DTZ001 - bounds have no zone
PINS: Final = st.none() | st.builds(Pin, NAMES, NAMES, st.none() | TIMES)
CAPACITIES: Final = st.sampled_from([0.0, 1.0, 1e16, 1e-7, 0.1]) | st.floats(0, allow_infinity=False)
CONTENTS: Final = st.builds(
    ShardContent,
    NAMES,
    NAMES,
    st.none() | NAMES,
    CAPACITIES,
    st.none() | NAMES,
    st.sampled_from(ShardStatus),
    PINS,
    st.none() | NAMES,
    st.none() | NAMES,
)
COUNTERS: Final = st.integers(1, 2**63 - 1)
ROWS: Final = st.lists(
    st.tuples(st.builds(ShardKey, NAMES, NAMES), CONTENTS, CONTENTS, COUNTERS, COUNTERS), min_size=1, max_size=8
)


@given(ROWS)
def test_checksums_images_and_changed_fields_are_those_of_each_shard(
    rows: Sequence[tuple[ShardKey, ShardContent, ShardContent, int, int]],
) -> None:
    keys, before, after, versions, epochs = zip(*rows, strict=True)
    namespaces, shard_ids = zip(*keys, strict=True)
    content = content_columns(after)
    checksums = shard_checksums(namespaces, encode_texts(shard_ids), content)
    assert checksums == [shard_checksum(key, one) for key, one in zip(keys, after, strict=True)]
    given_checksums = list(map(str, range(len(rows))))
    assert images(namespaces, as_json(shard_ids), content, versions, epochs, given_checksums) == [
        write_image(*each) for each in zip(keys, after, versions, epochs, given_checksums, strict=True)
    ]
    assert changed_fields_of(content_columns(before), content) == list(map(changed_fields, before, after))


def test_zeros_of_both_signs_are_written_as_they_are() -> None:
    contents = [ShardContent("a", "a", None, zero, None, ShardStatus.ACTIVE, None, None) for zero in (0.0, -0.0)]
    counted = ([1, 1], [1, 1], ["c", "c"])
    written = images(["n", "n"], as_json(["s", "s"]), content_columns(contents), *counted)
    assert written == [write_image(ShardKey("n", "s"), content, 1, 1, "c") for content in contents]


@given(st.lists(st.tuples(NAMES, COUNTERS, NAMES), min_size=1, max_size=8))
def test_terms_of_a_digest_are_those_of_each_shard(entries: Sequence[tuple[str, int, str]]) -> None:
    shard_ids, versions, checksums = zip(*entries, strict=True)
    assert list(digest_terms(encode_texts(shard_ids), versions, checksums)) == list(starmap(digest_term, entries))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(DiffKind),
            st.none() | NAMES,
            st.none() | COUNTERS,
            st.none() | TIMES,
            st.none() | TIMES,
            st.none() | NAMES,
            st.none() | st.sampled_from(MoveReason),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_digests_of_rows_are_those_of_each_row(rows: Sequence[Any]) -> None:
    assert row_digests(*zip(*rows, strict=True)) == list(starmap(hash_chain.row_digest, rows))
