"""A row of history against its own images: what its columns repeat, and the checksums inside."""

from __future__ import annotations

from itertools import compress
from operator import ne
from typing import Any

import orjson

from persistence.auditing.entries import RowEntry
from persistence.checksums import shard_checksum
from persistence.images import CONTENT, read_image


def parsed_images(row: RowEntry) -> tuple[Any, Any]:
    """Before and after, null where there is none; both null where one of them is not JSON."""
    try:
        before = None if row.previous is None else orjson.loads(row.previous)
        return before, None if row.current is None else orjson.loads(row.current)
    except orjson.JSONDecodeError:
        return None, None


def wrong_columns(row: RowEntry, before: Any, after: Any) -> tuple[str, ...]:
    """The columns that say something else than the images. The audit chain covers the images, not these columns."""
    try:
        return () if _agrees(row, before, after) else tuple(_wrong(row, before, after))
    except (KeyError, TypeError):
        return ("previous", "current")


def _agrees(row: RowEntry, before: Any, after: Any) -> bool:
    """All of it at once, because this is asked of every row there is."""
    image = after or before
    return (
        row.namespace == image["namespace"]
        and row.shard_id == image["shardId"]
        and row.version == (after["version"] if after else before["version"] + 1)
        and row.owner_node_id == (after["ownerNodeId"] if after else None)
        and row.previous_owner_node_id == (before["ownerNodeId"] if before else None)
        and row.changed_fields == _changed(before, after)
    )


def _wrong(row: RowEntry, before: Any, after: Any) -> list[str]:
    return [name for name, value in expected_columns(before, after).items() if getattr(row, name) != value]


def expected_columns(before: Any, after: Any) -> dict[str, Any]:
    """What the columns must be for these two images, one of which may be null."""
    image = after or before
    return {
        "namespace": image["namespace"],
        "shard_id": image["shardId"],
        "version": after["version"] if after else before["version"] + 1,
        "owner_node_id": after["ownerNodeId"] if after else None,
        "previous_owner_node_id": before["ownerNodeId"] if before else None,
        "changed_fields": _changed(before, after),
    }


def _changed(before: Any, after: Any) -> str:
    if before is None or after is None:
        return ""
    # `get`: an image leaves some members out where there is nothing to say.
    return ",".join(compress(CONTENT, map(ne, map(before.get, CONTENT), map(after.get, CONTENT))))


def images_with_wrong_checksums(row: RowEntry) -> tuple[str, ...]:
    """Which images do not have the checksum of their own content. For rows that are suspected: it takes a while."""
    images = (("previous", row.previous), ("current", row.current))
    return tuple(name for name, image in images if image is not None and not _is_intact(image, row))


def _is_intact(image: str, row: RowEntry) -> bool:
    try:
        shard = read_image(image, row.revision, row.created_at, row.created_at)
        return shard_checksum(shard.key, shard.content) == shard.checksum
    except (ValueError, KeyError, TypeError):
        return False
