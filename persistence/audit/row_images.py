"""A row of history against its own images: what its columns repeat, and the checksums inside.

Rows of history against their own images, which are parsed only where they have to be.

Images are canonical JSON (`images.py`): members sorted by name, no spaces, every quote inside a string escaped. So `,"`
stands between two members and nowhere else; and in an image without a pin and without a group each has its index. Many
images are taken apart at once, with a byte between them that no text of PostgreSQL has, which shows where each ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import compress, starmap
from operator import itemgetter, ne
from typing import Any, Final

import orjson

from persistence.audit.continuity import continues_from
from persistence.audit.entries import RowEntry
from persistence.codec.encoding import shard_checksum
from persistence.codec.images import CONTENT, MEMBERS, read_image


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


REPEATED: Final = ("namespace", "shardId", "ownerNodeId", "version")
"""Members that columns repeat. The columns of a row are those as they stand in an image between the separators
(`version":7}`), the owner before in the same way, and the changed fields with commas between them."""

COLUMNS: Final = len(REPEATED) + 2

_END: Final = b"\0"

_BETWEEN: Final = b',"'

_COUNT: Final = len(MEMBERS)

_EPOCH: Final = MEMBERS.index("ownerEpoch")

_OWNER: Final = MEMBERS.index("ownerNodeId")

_VERSION: Final = MEMBERS.index("version")

_PIN: Final = MEMBERS.index("pinned")

_STEP: Final = _COUNT + 1

_ROW_STEP: Final = COLUMNS + 1

_NO_PIN: Final = b'pinned":null'

_CHANGEABLE: Final = {name.encode(): MEMBERS.index(name) for name in CONTENT if name in MEMBERS}
"""As `changed_fields` has them, in its order."""

_REPEATED: Final = tuple(map(MEMBERS.index, REPEATED))

_repeated = itemgetter(*_REPEATED)


def split_all(texts: Sequence[bytes], separator: bytes, count: int) -> list[bytes]:
    """The pieces of all of them, one after the other, and between those of one and those of the next a piece that is
    none. Raises ValueError if one of them has more pieces than `count`, or fewer.
    """
    pieces = (separator + _END + separator).join(texts).split(separator)
    if len(pieces) != len(texts) * (count + 1) - 1 or pieces[count :: count + 1].count(_END) != len(texts) - 1:
        raise ValueError(f"not {count} pieces each")
    return pieces


def all_agree(columns: Sequence[bytes], previous: Sequence[bytes | None], current: Sequence[bytes | None]) -> bool:
    """Whether the columns of some rows, `split_all`, say what the images say, and updates count versions and owner
    epochs on. Raises ValueError, KeyError or TypeError if something is none of either.
    """
    before, after = _members(previous), _members(current)
    if before is not None and after is not None:
        differs = bytes(map(ne, before, after))
        return (
            all(after[index::_STEP] == columns[number::_ROW_STEP] for number, index in enumerate(_REPEATED))
            and before[_OWNER::_STEP] == columns[len(REPEATED) :: _ROW_STEP]
            and _changes(differs) == columns[COLUMNS - 1 :: _ROW_STEP]
            and _counters_continue(differs, before, after)
        )
    rows = (columns[index : index + COLUMNS] for index in range(0, len(columns), _ROW_STEP))
    return all(starmap(_members_agree, zip(rows, previous, current, strict=True)))


def _members(images: Sequence[bytes | None]) -> list[bytes] | None:
    """All of them, taken apart; null if one of them is not there, or has other members than most."""
    present = [image for image in images if image is not None]
    if len(present) < len(images):
        return None
    try:
        members = split_all(present, _BETWEEN, _COUNT)
    except ValueError:
        return None
    return members if members[_PIN::_STEP].count(_NO_PIN) == len(images) else None


def _changes(differs: bytes) -> list[bytes]:
    """Of each row the changed fields."""
    return [_changed_fields(differs[index : index + _COUNT]) for index in range(0, len(differs), _STEP)]


def _members_agree(columns: Sequence[bytes], previous: bytes | None, current: bytes | None) -> bool:
    if previous is None or current is None:
        return _agrees_parsed(columns, previous, current)
    before, after = previous.split(_BETWEEN), current.split(_BETWEEN)
    if not len(before) == len(after) == _COUNT or not before[_PIN] == after[_PIN] == _NO_PIN:
        return _agrees_parsed(columns, previous, current)
    differs = bytes(map(ne, before, after))
    expected = [*_repeated(after), before[_OWNER], _changed_fields(differs)]
    return columns == expected and _counters_continue(differs, before, after)


def _counters_continue(differs: bytes, before: Sequence[bytes], after: Sequence[bytes]) -> bool:
    """`continues_from` for the members of some images. Of each member a 1 in `differs` if it is another than before."""
    epochs = before[_EPOCH::_STEP]
    moved = zip(differs[_OWNER::_STEP], epochs, map(_successors.__getitem__, epochs), strict=True)
    return after[_VERSION::_STEP] == list(map(_successors.__getitem__, before[_VERSION::_STEP])) and after[
        _EPOCH::_STEP
    ] == [following if moves else epoch for moves, epoch, following in moved]


class _Successors(dict[bytes, bytes]):
    """`version":7}` is followed by `version":8}`. Few numbers come again and again."""

    def __missing__(self, member: bytes) -> bytes:
        """Raises ValueError for what is no counter."""
        name, number = member.split(b'":')
        digits = number.removesuffix(b"}")
        if name not in (b"version", b"ownerEpoch") or digits != b"%d" % int(digits):
            raise ValueError("is no counter")
        if len(self) >= _COUNTERS_REMEMBERED:
            self.clear()
        following = self[member] = member.replace(digits, b"%d" % (int(digits) + 1))
        return following


_COUNTERS_REMEMBERED: Final = 10_000

_successors: Final = _Successors()


@cache
def _changed_fields(differs: bytes) -> bytes:
    """For each member a 1 if it is another than before. Few combinations ever occur."""
    return b",".join(name for name, index in _CHANGEABLE.items() if differs[index])


def _agrees_parsed(columns: Sequence[bytes], previous: bytes | None, current: bytes | None) -> bool:
    before, after = (None if image is None else orjson.loads(image) for image in (previous, current))
    *members, changed = columns
    namespace, shard_id, owner, version, previous_owner = (orjson.loads(_value(each)) for each in members)
    expected = {
        "namespace": namespace,
        "shard_id": shard_id,
        "changed_fields": changed.decode(),
        "owner_node_id": owner,
        "previous_owner_node_id": previous_owner,
        "version": version,
    }
    return expected == expected_columns(before, after) and (not before or not after or continues_from(before, after))


def _value(member: bytes) -> bytes:
    return member.split(b'":', 1)[1].removesuffix(b"}")
