"""A row of history against its own images, which are parsed only where they have to be.

Images are canonical JSON (`images.py`): members sorted by name, no spaces, every quote inside a string escaped. So `,"`
stands between two members and nowhere else; and in an image without a pin and without a group each has its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from operator import itemgetter, ne
from typing import Final

import orjson

from persistence.auditing.row_images import expected_columns

REPEATED: Final = ("namespace", "shardId", "ownerNodeId", "version")
"""Members that columns repeat, in the order in which `agrees` takes them."""

_BETWEEN: Final = b',"'
_MEMBERS: Final = (
    "capacityHint",
    "changeTicket",
    "checksum",
    "leaderId",
    "localityHint",
    "namespace",
    "ownerEpoch",
    "ownerNodeId",
    "pinned",
    "shardId",
    "status",
    "strategy",
    "version",
)
_COUNT: Final = len(_MEMBERS)
_OWNER: Final = _MEMBERS.index("ownerNodeId")
_PIN: Final = _MEMBERS.index("pinned")
_NO_PIN: Final = b'pinned":null'
_CHANGEABLE: Final = {
    name.encode(): _MEMBERS.index(name)
    for name in (
        "strategy",
        "ownerNodeId",
        "leaderId",
        "capacityHint",
        "localityHint",
        "status",
        "pinned",
        "changeTicket",
    )
}
"""As `changed_fields` has them, in its order."""

_repeated = itemgetter(*map(_MEMBERS.index, REPEATED))


def agrees(columns: list[bytes], previous: bytes | None, current: bytes | None) -> bool:
    """Whether the columns say what the images say. Raises ValueError, KeyError or TypeError if something is none of
    either.

    `columns` are those of REPEATED as they stand in an image between the separators (`version":7}`), the owner before
    in the same way, and the changed fields with commas between them.
    """
    if previous is None or current is None:
        return _agrees_parsed(columns, previous, current)
    before, after = previous.split(_BETWEEN), current.split(_BETWEEN)
    if not len(before) == len(after) == _COUNT or not before[_PIN] == after[_PIN] == _NO_PIN:
        return _agrees_parsed(columns, previous, current)
    return columns == [*_repeated(after), before[_OWNER], _changed_fields(bytes(map(ne, before, after)))]


@cache
def _changed_fields(differs: bytes) -> bytes:
    """For each member a 1 if it is another than before. Few combinations ever occur."""
    return b",".join(name for name, place in _CHANGEABLE.items() if differs[place])


def _agrees_parsed(columns: Sequence[bytes], previous: bytes | None, current: bytes | None) -> bool:
    before, after = (None if image is None else orjson.loads(image) for image in (previous, current))
    *members, changed = columns
    namespace, shard_id, owner, version, previous_owner = (orjson.loads(_value(each)) for each in members)
    said = {
        "namespace": namespace,
        "shard_id": shard_id,
        "changed_fields": changed.decode(),
        "owner_node_id": owner,
        "previous_owner_node_id": previous_owner,
        "version": version,
    }
    return said == expected_columns(before, after)


def _value(member: bytes) -> bytes:
    return member.split(b'":', 1)[1].removesuffix(b"}")
