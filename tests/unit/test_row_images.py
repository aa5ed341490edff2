"""What the columns of a row of history must be follows from its images."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest

from persistence.audit.entries import RowEntry
from persistence.audit.row_images import parsed_images, wrong_columns
from persistence.codec.encoding import shard_checksum
from persistence.codec.images import write_image
from persistence.model.records import ShardContent, ShardKey, ShardStatus

KEY: Final = ShardKey("orders", "s1")
CONTENT: Final = ShardContent("ring", "node-a", None, 1.0, None, ShardStatus.ACTIVE, None, None)
GROUPED: Final = replace(CONTENT, anti_affinity_group="primary")
MOMENT: Final = datetime(2026, 11, 23, tzinfo=UTC)


def image(content: ShardContent, version: int) -> str:
    return write_image(KEY, content, version, 1, shard_checksum(KEY, content))


def update(before: ShardContent, after: ShardContent, changed_fields: str) -> RowEntry:
    images = (image(before, 1), 1, MOMENT, MOMENT, image(after, 2), None)
    return RowEntry(2, 2, "UPDATED", *images, *KEY, 2, changed_fields, after.owner_node_id, before.owner_node_id)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (CONTENT, replace(CONTENT, capacity_hint=2.0), "capacityHint"),
        (CONTENT, GROUPED, "antiAffinityGroup"),
        (GROUPED, CONTENT, "antiAffinityGroup"),
        (GROUPED, replace(GROUPED, owner_node_id="node-b", leader_id="l"), "ownerNodeId,leaderId"),
    ],
)
def test_members_that_an_image_leaves_out_are_compared_too(
    before: ShardContent, after: ShardContent, changed: str
) -> None:
    for said, wrong in ((changed, ()), (changed + ",status", ("changed_fields",))):
        row = update(before, after, said)
        assert wrong_columns(row, *parsed_images(row)) == wrong
