"""Rows of history against their own images: the columns that repeat members, and the checksums inside.

Either one row, with its images parsed (`wrong_columns`), or many rows at once, whose images are parsed only where they
have to be (`all_agree`). Images are canonical JSON (`codec/images.py`): members sorted by name, no spaces, every quote
inside a string escaped. So `,"` stands between two members and nowhere else, and in an image without a pin and without
a group each member has a fixed index. Many images are split at once, with a byte between them that no text in
PostgreSQL contains, which shows where each ends.
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
    """Before and after, null where there is none; both null where one of them is no object of JSON."""
    images = (None if image is None else _object(image) for image in (row.previous, row.current))
    try:
        before, after = images
    except ValueError:
        return None, None
    return before, after


def _object(image: str) -> dict[str, Any]:
    """Raises ValueError for what is none."""
    document = orjson.loads(image)
    if not isinstance(document, dict):
        raise ValueError("an image is an object")  # noqa: TRY004 - as for what is no JSON
    return document


def wrong_columns(row: RowEntry, before: Any, after: Any) -> tuple[str, ...]:
    """The columns that differ from the images. The audit chain covers the images, not these columns."""
    try:
        return () if _agrees(row, before, after) else tuple(_wrong(row, before, after))
    except (KeyError, TypeError):
        return ("previous", "current")


def _agrees(row: RowEntry, before: Any, after: Any) -> bool:
    """In one expression, because it is evaluated for every row."""
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
    # `get`: an image leaves out some members that are null.
    return ",".join(compress(CONTENT, map(ne, map(before.get, CONTENT), map(after.get, CONTENT))))


def images_with_wrong_checksums(row: RowEntry) -> tuple[str, ...]:
    """The images that do not have the checksum of their own content. It parses them: for rows under suspicion."""
    images = (("previous", row.previous), ("current", row.current))
    return tuple(name for name, image in images if image is not None and not _is_intact(image, row))


def _is_intact(image: str, row: RowEntry) -> bool:
    try:
        shard = read_image(image, row.revision, row.created_at, row.created_at)
        return shard_checksum(shard.key, shard.content) == shard.checksum
    except (ValueError, KeyError, TypeError):
        return False


REPEATED: Final = ("namespace", "shardId", "ownerNodeId", "version")
"""Members that columns repeat. The columns of a row for `all_agree` are these as they stand in an image between the
separators (`version":7}`), the previous owner in the same way, and the changed fields with commas between them."""

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
"""Members that `changed_fields` may name, in its order."""

_REPEATED: Final = tuple(map(MEMBERS.index, REPEATED))

_repeated = itemgetter(*_REPEATED)


def split_all(texts: Sequence[bytes], separator: bytes, count: int) -> list[bytes]:
    """The pieces of all texts, `count` of each, and between two texts a piece that belongs to neither. Raises
    ValueError if a text has more pieces, or fewer.
    """
    pieces = (separator + _END + separator).join(texts).split(separator)
    if len(pieces) != len(texts) * (count + 1) - 1 or pieces[count :: count + 1].count(_END) != len(texts) - 1:
        raise ValueError(f"not {count} pieces each")
    return pieces


def all_agree(columns: Sequence[bytes], previous: Sequence[bytes | None], current: Sequence[bytes | None]) -> bool:
    """Whether the columns of some rows, split by `split_all`, agree with the images, and updates count versions and
    owner epochs on. Raises ValueError, KeyError or TypeError for what is no column or no image.
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
    """All images, split; null if one of them is null, or has other members than an image without pin and group."""
    present = [image for image in images if image is not None]
    if len(present) < len(images):
        return None
    try:
        members = split_all(present, _BETWEEN, _COUNT)
    except ValueError:
        return None
    return members if members[_PIN::_STEP].count(_NO_PIN) == len(images) else None


def _changes(differs: bytes) -> list[bytes]:
    """The changed fields of each row."""
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
    """`continues_from` for the members of some images. `differs` has a 1 for each member that changed, else a 0."""
    epochs = before[_EPOCH::_STEP]
    moved = zip(differs[_OWNER::_STEP], epochs, map(_successors.__getitem__, epochs), strict=True)
    return after[_VERSION::_STEP] == list(map(_successors.__getitem__, before[_VERSION::_STEP])) and after[
        _EPOCH::_STEP
    ] == [following if moves else epoch for moves, epoch, following in moved]


class _Successors(dict[bytes, bytes]):
    """`version":7}` is followed by `version":8}`. A cache: the same few numbers recur."""

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
    """The names of the members that have a 1 in `differs`. Cached: few combinations occur."""
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
