"""Ceph: `ceph pg dump pgs_brief`, or pgs, as text and as JSON.

A placement group is a shard, called by its id, and the OSDs of its acting set are its copies, by their positions; the
owner is the first, the acting primary is the leader. OSDs are called osd.N. State and up set are not stored. A position
that has no OSD (NONE) is left out, and so is a group that has none at all.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from graph.cli.formats.copies import cannot_be_written, collected, copies
from graph.cli.formats.json_items import is_json, json_items
from graph.cli.formats.problems import Problems
from graph.client.records import Json
from persistence.model.fields import quoted

_COLUMNS: Final = ("PG_STAT", "STATE", "UP", "UP_PRIMARY", "ACTING", "ACTING_PRIMARY")

_MEMBERS: Final = ("pgid", "state", "up", "up_primary", "acting", "acting_primary")

_RIGHT: Final = (3, 5)
"""Columns that are aligned to the right."""

_ID: Final = re.compile(r"([0-9]{1,19})\.([0-9a-f]{1,8})", re.ASCII)

_SET: Final = re.compile(r"\[((?:[0-9]{1,10}|NONE)(?:,(?:[0-9]{1,10}|NONE))*)?\]", re.ASCII)

_OSD: Final = re.compile(r"osd\.(0|[1-9][0-9]{0,9})", re.ASCII)

_NONE: Final = 2**31 - 1
"""CRUSH_ITEM_NONE: nothing is at this position of an erasure-coded group."""


def read(lines: Iterable[tuple[int, str]], problems: Problems) -> Iterator[tuple[int, Json]]:
    for line, group in _groups(list(lines), problems):
        owners = [None if osd == _NONE else f"osd.{osd}" for osd in group["acting"]]
        if not any(owners):
            problems.leave_out("placement groups that no OSD acts for")
            continue
        primary = group["acting_primary"]
        leader = f"osd.{primary}" if primary >= 0 and primary != _NONE else None
        for row in copies(group["pgid"], owners, leaderId=leader):
            yield line, row


def _groups(lines: Sequence[tuple[int, str]], problems: Problems) -> Iterator[tuple[int, Json]]:
    """Members of each group that has all of them."""
    found = _of_json(lines, problems) if is_json(lines) else _of_text(lines, problems)
    for line, group in found:
        problem = _problem(group)
        if problem is None:
            yield line, group
        else:
            problems.add(line, None, problem)


def _problem(group: Json) -> str | None:
    if not isinstance(group["pgid"], str) or not _ID.fullmatch(group["pgid"]):
        return f"{quoted(str(group['pgid']))} is no id of a placement group, such as 1.2f"
    for member in ("up", "acting"):
        osds = group[member]
        if not isinstance(osds, list) or not all(map(_is_number, osds)):
            return f"{quoted(str(osds))} is no {member} set, such as [3,0,2]"
    held = [osd for osd in group["acting"] if osd != _NONE]
    if len(set(held)) < len(held):
        return f"{group['pgid']} is twice at one OSD"
    for member in ("up_primary", "acting_primary"):
        if not (_is_number(group[member]) or group[member] == -1):
            return f"{quoted(str(group[member]))} is no {member}: the number of an OSD, or -1"
    return None if isinstance(group["state"], str) else f"{quoted(str(group['state']))} is no state"


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _NONE


def _of_json(lines: Sequence[tuple[int, str]], problems: Problems) -> Iterator[tuple[int, Json]]:
    members = ("pg_map", "pg_stats") if any('"pg_map"' in text for _, text in lines) else ("pg_stats",)
    for line, _, item in json_items(lines, members, problems):
        yield line, {member: item.get(member) for member in _MEMBERS}


def _of_text(lines: Iterable[tuple[int, str]], problems: Problems) -> Iterator[tuple[int, Json]]:
    header: list[str] = []
    for line, text in lines:
        fields = text.split()
        if fields[0] == "dumped":
            continue
        if not header:
            if not set(_COLUMNS) <= set(fields):
                problems.add(line, None, f"is no header of ceph pg dump with {', '.join(_COLUMNS)}")
                return
            header = fields
            places = list(map(header.index, _COLUMNS))
        elif len(fields) <= max(places):
            problems.add(line, None, f"has {len(fields)} fields, the header has {len(header)}")
        else:
            values = [_value(fields[place]) for place in places]
            values[:2] = fields[places[0]], fields[places[1]]
            yield line, dict(zip(_MEMBERS, values, strict=True))


def _value(text: str) -> Any:
    """A set as a list, a number as such."""
    if found := _SET.fullmatch(text):
        return [_NONE if osd == "NONE" else int(osd) for osd in found[1].split(",")] if found[1] else []
    return int(text) if re.fullmatch(r"-1|[0-9]{1,10}", text, re.ASCII) else text


def write(shards: Iterable[Json], like: Iterable[tuple[int, str]], problems: Problems) -> Iterator[str]:
    """The text. State and up set are those of `like`, else unknown and the acting set."""
    rows = [_COLUMNS, *(tuple(map(_text, group.values())) for group in _written(shards, like, problems))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if place in _RIGHT else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def write_json(shards: Iterable[Json], like: Iterable[tuple[int, str]], problems: Problems) -> Iterator[str]:
    document = {"pg_ready": True, "pg_stats": list(_written(shards, like, problems))}
    yield json.dumps(document, separators=(",", ":"))


def _text(value: object) -> str:
    if isinstance(value, list):
        return f"[{','.join('NONE' if osd == _NONE else str(osd) for osd in value)}]"
    return str(value)


def _written(shards: Iterable[Json], like: Iterable[tuple[int, str]], problems: Problems) -> Iterator[Json]:
    known = {group["pgid"]: group for _, group in _groups(list(like), problems)}
    groups = sorted(collected(shards).items(), key=lambda one: _order(*one))
    for group_id, held in groups:
        acting = [_osd(held[place], "owner", held[place]["ownerNodeId"]) if place in held else _NONE
                  for place in range(max(held) + 1)]  # fmt: skip
        first = held.get(0)
        leader = first["leaderId"] if first else None
        osds = [osd for osd in acting if osd != _NONE]
        primary = _osd(first, "leader", leader) if first and leader else osds[0]
        before = known.get(group_id, {"state": "unknown", "up": acting, "up_primary": primary})
        values = (group_id, before["state"], before["up"], before["up_primary"], acting, primary)
        yield dict(zip(_MEMBERS, values, strict=True))


def _order(group_id: str, held: dict[int, Json]) -> tuple[int, int]:
    found = _ID.fullmatch(group_id)
    if not found:
        raise cannot_be_written(next(iter(held.values())), "placement groups are called pool.number, such as 1.2f")
    return int(found[1]), int(found[2], 16)


def _osd(shard: Json, what: str, node_id: str) -> int:
    found = _OSD.fullmatch(node_id)
    if not found:
        raise cannot_be_written(shard, f"its {what} {node_id} is not called osd.N")
    return int(found[1])
