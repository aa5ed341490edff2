"""A field of a shard is declared in its record and in its table: reading, writing and hashing follow from those."""

from __future__ import annotations

import json
import sys
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any, Final

import pytest

from persistence.codec.encoding import shard_checksum
from persistence.codec.images import MEMBERS, changed_fields, write_image
from persistence.model.drafts import new_shard, new_shards
from persistence.model.records import ADDED_FIELDS, Shard, ShardContent, ShardKey, ShardStatus, public_name
from persistence.postgres.commit import PARAMETERS
from persistence.postgres.rows import SHARD, columns_of
from persistence.postgres.tables.current import SHARDS

KEY: Final = ShardKey("billing", "s1")
BARE: Final = ShardContent("ring", "node-a", None, 1.0, None, ShardStatus.ACTIVE, None, None)


def test_the_record_is_read_from_every_column_of_the_table() -> None:
    assert sorted(columns_of(Shard)) == sorted(SHARDS.c.keys())
    assert [column.name for column in SHARD] == list(columns_of(Shard))


def test_a_commit_is_given_every_column_of_the_content_with_the_type_it_has() -> None:
    types = {name: sql_type for name, sql_type, _ in PARAMETERS}
    assert {name: types[name] for name in columns_of(ShardContent)} == {
        **dict.fromkeys(columns_of(ShardContent), "text[]"),
        "capacity_hint": "float8[]",
        "pinned_until": "timestamptz[]",
    }


@pytest.mark.parametrize("name", ADDED_FIELDS)
def test_an_added_field_is_in_the_document_the_checksum_and_the_changed_fields_where_it_is_not_null(name: str) -> None:
    added: dict[str, Any] = {name: "x"}
    given = replace(BARE, **added)
    bare, document = (json.loads(write_image(KEY, content, 1, 1, "c" * 32)) for content in (BARE, given))
    assert tuple(bare) == MEMBERS
    assert document == {**bare, public_name(name): "x"}
    assert shard_checksum(KEY, given) != shard_checksum(KEY, BARE)
    assert changed_fields(BARE, given) == (public_name(name),)


def test_records_made_of_columns_are_those_that_their_constructor_makes() -> None:
    """They were of another class while they were made."""
    rows = [tuple(f"{member.name} {number}" for member in fields(Shard)) for number in range(3)]
    made, by_constructor = new_shards(zip(*rows, strict=True)), [Shard(*row) for row in rows]  # type: ignore[arg-type]
    assert made == by_constructor == [new_shard(*row) for row in rows]
    assert {type(shard) for shard in (*made, new_shard(*rows[0]))} == {Shard}
    assert list(map(hash, made)) == list(map(hash, by_constructor))
    assert sys.getsizeof(made[0]) == sys.getsizeof(by_constructor[0])
    with pytest.raises(FrozenInstanceError):
        made[0].version = 2  # type: ignore[misc]
