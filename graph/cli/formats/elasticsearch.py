"""Elasticsearch and OpenSearch: `_cat/shards`, as text with a header (`?v`) and as JSON (`?format=json`).

A primary is a shard, called `index[number]`, and owned by its node; its replicas are copies of it, in the order of the
names of their nodes. Copies that are not assigned have no owner, and are left out. Written are the columns index,
shard, prirep and node, as `?h=index,shard,prirep,node` has them.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from graph.cli.formats.copies import cannot_be_written, collected, copies
from graph.cli.formats.json_items import is_json, json_items
from graph.cli.formats.problems import Problems
from graph.client.records import Json
from persistence.model.fields import quoted

_COLUMNS: Final = ("index", "shard", "prirep", "node")

_SHARD: Final = re.compile(r"(.+)\[(0|[1-9][0-9]{0,9})\]", re.ASCII)

_RELOCATING: Final = " -> "
"""Between the node where a copy is and the address, id and name of where it is going."""


def read(lines: Iterable[tuple[int, str]], problems: Problems) -> Iterator[tuple[int, Json]]:
    lines = list(lines)
    found = _of_json(lines, problems) if is_json(lines) else _of_text(lines, problems)
    primaries: dict[str, tuple[int, str]] = {}
    replicas: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for line, copy in found:
        shard_id = _shard_id(line, copy, problems)
        if shard_id is None:
            continue
        node = str(copy.get("node") or "").partition(_RELOCATING)[0]
        if copy["prirep"] == "r":
            replicas[shard_id] += [(node, line)] if node else []
        elif shard_id in primaries:
            problems.add(line, None, f"is a second primary of {shard_id}, after line {primaries[shard_id][0]:,}")
        else:
            primaries[shard_id] = line, node
        if not node:
            problems.leave_out("copies that are assigned to no node")
    # In the order of the file: what is sent twice is recognised by its order, too.
    for shard_id in dict.fromkeys([*primaries, *replicas]):
        line, primary = primaries.get(shard_id, (0, ""))
        held = [(primary, line), *sorted(replicas[shard_id])]
        for row, (_, at) in zip(
            copies(shard_id, [node or None for node, _ in held]), [one for one in held if one[0]], strict=True
        ):
            yield at, row


def _shard_id(line: int, copy: Mapping[str, Any], problems: Problems) -> str | None:
    index, shard, prirep = (copy.get(column) for column in ("index", "shard", "prirep"))
    if not isinstance(index, str) or not index:
        problems.add(line, "index", "is missing")
    elif not re.fullmatch("0|[1-9][0-9]{0,9}", str(shard), re.ASCII):
        problems.add(line, "shard", f"{quoted(str(shard))} is no number of a shard")
    elif prirep not in ("p", "r"):  # of JSON it may be anything, a list too
        problems.add(line, "prirep", f"{quoted(str(prirep))} is neither p nor r")
    else:
        return f"{index}[{shard}]"
    return None


def _of_json(lines: Iterable[tuple[int, str]], problems: Problems) -> Iterator[tuple[int, Json]]:
    for line, where, item in json_items(lines, (), problems):
        if isinstance(item.get("node"), str | None):
            yield line, item
        else:
            problems.add(line, f"{where}.node", "must be a string or null")


def _of_text(lines: Iterable[tuple[int, str]], problems: Problems) -> Iterator[tuple[int, Json]]:
    header: list[str] = []
    node_at = 0
    for line, text in lines:
        if not header:
            header = text.split()
            node_at = text.rfind("node")
            missing = [column for column in _COLUMNS if column not in header]
            if missing:
                problems.add(line, None, f"is no header of _cat/shards?v with {', '.join(_COLUMNS)}")
                return
            if header[-1] != "node":
                problems.add(line, None, "must end with the column node: names of nodes may have blanks in them")
                return
            continue
        fields = text.split(maxsplit=len(header) - 1)
        copy = dict(zip(header, fields, strict=False))
        unassigned = copy.get("state", "UNASSIGNED") == "UNASSIGNED" and len(fields) < len(header)
        if copy.get("state") == "UNASSIGNED" or unassigned:
            yield line, copy | {"node": None}
        elif copy.get("state") == "INITIALIZING" and text[node_at - 1 : node_at].isspace():
            # Documents and size are not known yet, and their cells blank: only its column tells where the node is.
            yield line, copy | {"node": text[node_at:].strip()}
        elif len(fields) == len(header) and copy.get("state") != "INITIALIZING":
            yield line, copy | {"node": fields[-1].strip()}
        else:
            problems.add(line, None, f"has {len(fields)} fields, the header has {len(header)}")


def write(shards: Iterable[Json], *_: object) -> Iterator[str]:
    """The text, its columns as wide as what is in them."""
    rows = [_COLUMNS, *_rows(shards)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield " ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def write_json(shards: Iterable[Json], *_: object) -> Iterator[str]:
    rows = [dict(zip(_COLUMNS, row, strict=True)) for row in _rows(shards)]
    yield json.dumps(rows, separators=(",", ":"))


def _rows(shards: Iterable[Json]) -> list[tuple[str, ...]]:
    rows = []
    for shard_id, held in collected(shards).items():
        found = _SHARD.fullmatch(shard_id)
        if not found:
            raise cannot_be_written(next(iter(held.values())), "shards are called index[number]")
        for position, shard in held.items():
            rows.append(((found[1], int(found[2]), position), shard["ownerNodeId"]))
    rows.sort()
    return [(index, str(number), "r" if position else "p", node) for (index, number, position), node in rows]
