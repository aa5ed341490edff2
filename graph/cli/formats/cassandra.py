"""Cassandra: the text of `nodetool ring`.

A token is a shard, called by it, and owned by the node at the line's address; datacenter and rack are its locality.
Status, state, load and share of a node are not stored.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from graph.cli.formats.copies import cannot_be_written
from graph.cli.formats.problems import Problems
from graph.client.records import Json

_NODE: Final = re.compile(
    r"(?P<address>\S+)\s+(?P<rack>\S+)\s+(?P<status>Up|Down|\?)\s+(?P<state>Normal|Leaving|Joining|Moving|\?)\s+"
    r"(?P<load>\?|\S+ [KMGTP]i?B|\S+ bytes)\s+(?P<owns>\?|[0-9.,]+%)\s+(?P<token>-?[0-9]{1,39})\s*",
    re.ASCII,
)

_DATACENTER: Final = re.compile(r"Datacenter: (\S+)\s*")

_BESIDE: Final = re.compile(
    r"=+\s*|Address\s+Rack\s.*|\s*-?[0-9]{1,39}\s*|\s*(Warning: |To view status |Note: ).*", re.ASCII
)
"""Rules, heads of columns, the last token of a ring before its first, and advice after the rings."""

_UNKNOWN: Final = ("?", "Normal", "?", "?")
"""What nodetool prints of a node that it knows nothing of."""

_Found = tuple[int, str, re.Match[str]]


def read(lines: Iterable[tuple[int, str]], problems: Problems) -> Iterator[tuple[int, Json]]:
    for line, datacenter, node in _nodes(lines, problems):
        yield (
            line,
            {"shardId": node["token"], "ownerNodeId": node["address"], "localityHint": f"{datacenter}/{node['rack']}"},
        )


def _nodes(lines: Iterable[tuple[int, str]], problems: Problems) -> Iterator[_Found]:
    datacenter = None
    for line, text in lines:
        if found := _DATACENTER.fullmatch(text):
            datacenter = found[1]
        elif node := _NODE.fullmatch(text):
            if datacenter is None:
                problems.add(line, None, "stands before a line 'Datacenter: ...'")
            else:
                yield line, datacenter, node
        elif not _BESIDE.fullmatch(text):
            problems.add(line, None, "is no line of nodetool ring: address, rack, status, state, load, share and token")


def write(shards: Iterable[Json], like: Iterable[tuple[int, str]], problems: Problems) -> Iterator[str]:
    """A ring for each datacenter. What is not stored is as `like` has it of the node, or unknown."""
    known = {node["address"]: node.group("status", "state", "load", "owns") for _, _, node in _nodes(like, problems)}
    rings: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for shard in shards:
        datacenter, slash, rack = (shard["localityHint"] or "").partition("/")
        if not slash:
            raise cannot_be_written(shard, "it has no locality of datacenter and rack, such as dc1/rack1")
        if not re.fullmatch(r"0|-?[1-9][0-9]{0,38}", shard["shardId"]):
            raise cannot_be_written(shard, "tokens are whole numbers")
        rings[datacenter].append((int(shard["shardId"]), shard["ownerNodeId"], rack))
    width = max((len(address) for ring in rings.values() for _, address, _ in ring), default=0)
    for number, (datacenter, ring) in enumerate(sorted(rings.items())):
        yield from [""] if number else []
        yield from (f"Datacenter: {datacenter}", "==========")
        yield _line(width, "Address", "Rack", "Status", "State", "Load", "Owns", "Token")
        ring.sort()
        yield from [_line(width, *[""] * 6, str(ring[-1][0]))] if len(ring) > 1 else []
        for token, address, rack in ring:
            yield _line(width, address, rack, *known.get(address, _UNKNOWN), str(token))


def _line(width: int, *cells: str) -> str:
    address, *rest = cells
    widths = (12, 7, 8, 16, 20, 44)
    return f"{address:<{width}}  {''.join(map(str.ljust, rest, widths))}".rstrip()
