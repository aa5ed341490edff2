"""Rows of history against their own images, which are parsed only where they have to be.

Images are canonical JSON (`images.py`): members sorted by name, no spaces, every quote inside a string escaped. So `,"`
stands between two members and nowhere else; and in an image without a pin and without a group each has its place. Many
images are taken apart at once, with a byte between them that no text of PostgreSQL has, which shows where each ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import starmap
from operator import itemgetter, ne
from typing import Final

import orjson

from persistence.auditing.row_images import expected_columns

REPEATED: Final = ("namespace", "shardId", "ownerNodeId", "version")
"""Members that columns repeat. The columns of a row are those as they stand in an image between the separators
(`version":7}`), the owner before in the same way, and the changed fields with commas between them."""

COLUMNS: Final = len(REPEATED) + 2

_END: Final = b"\0"
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
_STEP: Final = _COUNT + 1
_ROW_STEP: Final = COLUMNS + 1
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

_REPEATED: Final = tuple(map(_MEMBERS.index, REPEATED))
_repeated = itemgetter(*_REPEATED)


def taken_apart(texts: Sequence[bytes], separator: bytes, count: int) -> list[bytes]:
    """The pieces of all of them, one after the other, and between those of one and those of the next a piece that is
    none. Raises ValueError if one of them has more pieces than `count`, or fewer.
    """
    pieces = (separator + _END + separator).join(texts).split(separator)
    if len(pieces) != len(texts) * (count + 1) - 1 or pieces[count :: count + 1].count(_END) != len(texts) - 1:
        raise ValueError(f"not {count} pieces each")
    return pieces


def all_agree(columns: Sequence[bytes], previous: Sequence[bytes | None], current: Sequence[bytes | None]) -> bool:
    """Whether the columns of some rows, `taken_apart`, say what the images say. Raises ValueError, KeyError or
    TypeError if something is none of either.
    """
    before, after = _members(previous), _members(current)
    if before is not None and after is not None:
        return (
            all(after[place::_STEP] == columns[number::_ROW_STEP] for number, place in enumerate(_REPEATED))
            and before[_OWNER::_STEP] == columns[len(REPEATED) :: _ROW_STEP]
            and _changes(before, after) == columns[COLUMNS - 1 :: _ROW_STEP]
        )
    rows = (columns[place : place + COLUMNS] for place in range(0, len(columns), _ROW_STEP))
    return all(starmap(_agrees, zip(rows, previous, current, strict=True)))


def _members(images: Sequence[bytes | None]) -> list[bytes] | None:
    """All of them, taken apart; null if one of them is not there, or has other members than most."""
    present = [image for image in images if image is not None]
    if len(present) < len(images):
        return None
    try:
        members = taken_apart(present, _BETWEEN, _COUNT)
    except ValueError:
        return None
    return members if members[_PIN::_STEP].count(_NO_PIN) == len(images) else None


def _changes(before: Sequence[bytes], after: Sequence[bytes]) -> list[bytes]:
    """Of each row the changed fields."""
    differs = bytes(map(ne, before, after))
    return [_changed_fields(differs[place : place + _COUNT]) for place in range(0, len(differs), _STEP)]


def _agrees(columns: Sequence[bytes], previous: bytes | None, current: bytes | None) -> bool:
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
