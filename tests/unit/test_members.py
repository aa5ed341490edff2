"""Rows held against their images many at a time: rows that are found to agree do, and untouched rows are."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persistence.audit.continuity import continues_from
from persistence.audit.entries import RowEntry
from persistence.audit.row_images import COLUMNS, all_agree, expected_columns, parsed_images, split_all, wrong_columns
from persistence.codec.images import write_image
from persistence.model.records import Pin, ShardContent, ShardKey, ShardStatus

SEPARATOR: Final = b"\x1f"
MOMENT: Final = datetime(2026, 11, 23, tzinfo=UTC)

names = st.sampled_from(["a", "b", "node-1", "eu/a", "s,t"])
texts = st.none() | names | st.sampled_from(['says ","', "{", "\\"])
pins = st.builds(Pin, by=names, reason=names, until=st.none())
contents = st.builds(
    ShardContent,
    strategy=names,
    owner_node_id=st.none() | names,
    leader_id=st.none() | names,
    capacity_hint=st.sampled_from([1.0, 2.5]),
    locality_hint=texts,
    status=st.sampled_from(ShardStatus),
    # Most shards have neither pin nor group, and only rows of such are compared many at a time.
    pinned=st.sampled_from([True, *[False] * 15]).flatmap(lambda pinned: pins if pinned else st.none()),
    change_ticket=texts,
    anti_affinity_group=st.sampled_from(["pair", *[None] * 15]),
)


@dataclass
class Row:
    """As PostgreSQL sends it: the columns as members of an image, and both images."""

    columns: dict[str, Any]
    images: list[str | None] = field(default_factory=list)

    def sent(self) -> bytes:
        column = {name: orjson.dumps(value).decode() for name, value in self.columns.items()}
        members = (
            f'namespace":{column["namespace"]}',
            f'shardId":{column["shard_id"]}',
            f'ownerNodeId":{column["owner_node_id"]}',
            f'version":{column["version"]}}}',
            f'ownerNodeId":{column["previous_owner_node_id"]}',
            self.columns["changed_fields"],
        )
        return SEPARATOR.join(member.encode() for member in members)

    def wrong(self) -> tuple[str, ...]:
        """What parsing the images finds."""
        previous, current = self.images
        entry = RowEntry(1, 1, "", previous, None, None, MOMENT, current, None, **self.columns)
        before, after = parsed_images(entry)
        wrong = wrong_columns(entry, before, after)
        return wrong if before is None or after is None or continues_from(before, after) else (*wrong, "current")


@st.composite
def rows(draw: st.DrawFn) -> Row:
    key = ShardKey(draw(names), draw(names))
    before, after = draw(contents), draw(contents)
    if draw(st.booleans()):
        after = replace(before, owner_node_id=draw(names))
    version, epoch = draw(st.sampled_from([(1, 1), (9, 9), (99, 9)]))
    moved = before.owner_node_id != after.owner_node_id
    images: list[str | None] = [
        write_image(key, before, version, epoch, "00"),
        write_image(key, after, version + 1, epoch + moved, "01"),
    ]
    if draw(st.integers(0, 15)) == 0:
        images[draw(st.integers(0, 1))] = None
    parsed = [None if image is None else orjson.loads(image) for image in images]
    return Row(expected_columns(*parsed), images)


def say_that_they_agree(told: list[Row]) -> bool:
    columns = split_all([row.sent() for row in told], SEPARATOR, COLUMNS)
    images = [[None if image is None else image.encode() for image in row.images] for row in told]
    return all_agree(columns, *zip(*images, strict=True))


@given(st.lists(rows(), min_size=1, max_size=8))
def test_untouched_rows_agree(told: list[Row]) -> None:
    assert say_that_they_agree(told)


@given(st.lists(rows(), min_size=2, max_size=6), st.data())
@settings(max_examples=200)
def test_what_agrees_is_as_one_who_parses_it_says(told: list[Row], data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 2))):
        row = data.draw(st.sampled_from(told))
        name = data.draw(st.sampled_from([*row.columns, "images"]))
        if name == "images":
            move_a_member(data, told)
        else:
            row.columns[name] = data.draw(st.sampled_from(told)).columns[name]
    try:
        agree = say_that_they_agree(told)
    except (ValueError, KeyError, TypeError):
        agree = False
    if agree:
        assert [row.wrong() for row in told] == [()] * len(told)


def move_a_member(data: st.DataObject, told: list[Row]) -> None:
    """From one image to another, so that together they have as many as before."""
    places = [(row, side) for row in told for side in (0, 1) if row.images[side] is not None]
    (taker, to), (giver, of) = data.draw(st.sampled_from(places)), data.draw(st.sampled_from(places))
    given_away = (giver.images[of] or "").split(',"')
    member = given_away.pop(data.draw(st.integers(0, len(given_away) - 1)))
    giver.images[of] = ',"'.join(given_away)
    taken = (taker.images[to] or "").split(',"')
    taken.insert(data.draw(st.sampled_from([0, 1, len(taken)])), member)
    taker.images[to] = ',"'.join(taken)


@given(st.lists(rows(), min_size=1, max_size=6), st.data())
def test_a_counter_that_does_not_go_on_is_noticed(told: list[Row], data: st.DataObject) -> None:
    updates = [row for row in told if None not in row.images]
    if not updates:
        return
    row = data.draw(st.sampled_from(updates))
    side, name = data.draw(st.sampled_from([0, 1])), data.draw(st.sampled_from(["version", "ownerEpoch"]))
    image = orjson.loads(row.images[side] or "")
    image[name] += data.draw(st.sampled_from([-1, 1, 10]))
    row.images[side] = orjson.dumps(image, option=orjson.OPT_SORT_KEYS).decode()
    row.columns = expected_columns(*(None if one is None else orjson.loads(one) for one in row.images))
    assert not say_that_they_agree(told)
    assert row.wrong() == ("current",)


def test_a_member_that_moved_on_to_the_next_image_is_missed() -> None:
    content = ShardContent("ring", "a", None, 1.0, None, ShardStatus.ACTIVE, None, None)
    told = []
    for shard in ("s1", "s2"):
        key = ShardKey("n", shard)
        images = [write_image(key, content, version, 1, "00") for version in (1, 2)]
        told.append(Row(expected_columns(*map(orjson.loads, images)), list(images)))
    assert say_that_they_agree(told)
    # The second image still has what its columns say, each where it would be if the first did not end too late.
    told[0].images[1] = (told[0].images[1] or "") + ',"{'
    told[1].images[1] = (told[1].images[1] or "").replace('{"capacityHint":1.0,"changeTicket"', '{"changeTicket"')
    with pytest.raises(orjson.JSONDecodeError):
        say_that_they_agree(told)


def test_texts_with_other_numbers_of_pieces_are_not_taken_apart() -> None:
    assert split_all([b"a b", b"c d"], b" ", 2) == [b"a", b"b", b"\0", b"c", b"d"]
    for uneven in ([b"a b c", b"d"], [b"a b", b"c"], [b"a", b"b c d"], [b"a b c d e f"]):
        with pytest.raises(ValueError, match="not 2 pieces each"):
            split_all(uneven, b" ", 2)
