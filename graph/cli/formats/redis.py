"""Redis and Valkey: the lines of `CLUSTER NODES`, or of nodes.conf.

A slot is a shard, called by its number, and owned by the master that the line is of, called by its id (40 hex digits).
https://redis.io/docs/latest/commands/cluster-nodes/
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

from graph.cli.formats.copies import cannot_be_written
from graph.cli.formats.problems import Problems
from graph.client.records import Json
from persistence.model.fields import quoted

_SLOTS: Final = 16_384

_HEAD: Final = 8
"""Fields before the slots."""

_ID: Final = re.compile(r"[0-9a-f]{40}")

_RANGE: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)

_SLOT: Final = re.compile(r"0|[1-9][0-9]{0,4}")

_MOVING: Final = re.compile(r"\[[0-9]{1,5}-[<>]-[0-9a-f]{40}\]", re.ASCII)
"""A slot that is being migrated or imported: its owner is still where it was."""


def read(lines: Iterable[tuple[int, str]], problems: Problems) -> Iterator[tuple[int, Json]]:
    for line, node, slots in _nodes(lines, problems):
        for slot in slots:
            yield line, {"shardId": str(slot), "ownerNodeId": node[0]}


def _nodes(lines: Iterable[tuple[int, str]], problems: Problems) -> Iterator[tuple[int, list[str], list[int]]]:
    """(line, its fields, its slots) of each node."""
    for line, text in lines:
        fields = text.split()
        if fields[0] == "vars":
            continue
        if len(fields) < _HEAD:
            problems.add(line, None, f"has {len(fields)} fields, a line of CLUSTER NODES has at least {_HEAD}")
        elif not _ID.fullmatch(fields[0]):
            problems.add(line, None, f"begins with {quoted(fields[0])}, which is no node id: 40 hex digits")
        else:
            slots = [slot for field in fields[_HEAD:] for slot in _slots(line, field, problems)]
            if slots and "master" not in fields[2].split(","):
                problems.add(line, None, f"gives slots to a node that is no master, but {quoted(fields[2])}")
            yield line, fields, slots


def _slots(line: int, field: str, problems: Problems) -> range:
    found = _RANGE.fullmatch(field)
    if found:
        first, last = int(found[1]), int(found[2] or found[1])
        if first <= last < _SLOTS:
            return range(first, last + 1)
    if not _MOVING.fullmatch(field):
        problems.add(line, None, f"{quoted(field)} is no slot, nor a range of slots from 0 to {_SLOTS - 1}")
    return range(0)


def write(shards: Iterable[Json], like: Iterable[tuple[int, str]], problems: Problems) -> Iterator[str]:
    """A line for each node of `like`, with the slots that it owns; then nodes that it does not have."""
    owned: dict[str, list[int]] = defaultdict(list)
    for shard in shards:
        if not (_SLOT.fullmatch(shard["shardId"]) and int(shard["shardId"]) < _SLOTS):
            raise cannot_be_written(shard, f"slots are numbers from 0 to {_SLOTS - 1}")
        if not _ID.fullmatch(shard["ownerNodeId"]):
            raise cannot_be_written(shard, f"its owner {shard['ownerNodeId']} is no id of 40 hex digits")
        owned[shard["ownerNodeId"]].append(int(shard["shardId"]))
    for _, fields, _ in _nodes(like, problems):
        slots = owned.pop(fields[0], [])
        if slots and "slave" in fields[2]:
            fields[2:4] = fields[2].replace("slave", "master"), "-"
        moving = [field for field in fields[_HEAD:] if _MOVING.fullmatch(field)]
        yield " ".join([*fields[:_HEAD], *_ranges(slots), *moving])
    for node_id, slots in sorted(owned.items()):
        yield " ".join([node_id, ":0@0", "master,noaddr", "-", "0", "0", "0", "disconnected", *_ranges(slots)])


def _ranges(slots: list[int]) -> Iterator[str]:
    slots = sorted(slots)
    ends = [index for index, (one, other) in enumerate(pairwise(slots), 1) if other != one + 1]
    for start, end in pairwise([0, *ends, len(slots)] if slots else []):
        first, last = slots[start], slots[end - 1]
        yield str(first) if first == last else f"{first}-{last}"
