"""Answers as JSON. Data that a plan made may hold what orjson writes and the standard library does not: times in UTC,
and JSON that is encoded already (`orjson.Fragment`)."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from graph.execution.slices import Slices

OPTIONS: Final = orjson.OPT_UTC_Z
"""So orjson writes a time in UTC as `write_date_time` does, in a tenth of the time."""

MANY_RECORDS: Final = 1_000
"""An answer with more is encoded in slices."""

_ITEMS: Final = 32
"""Of a list, encoded at once."""

_DEPTH: Final = 5
"""Of objects that are encoded member by member: a message of a socket, its payload, `data`, a root field, a list."""


def encode_json(value: Any) -> bytes:
    """The value as JSON in UTF-8.

    orjson refuses lone surrogates, which a message may quote from a request, and integers of more than 64 bits; the
    standard library escapes the ones and writes the others.
    """
    try:
        return orjson.dumps(value, option=OPTIONS)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), default=_plain).encode()


async def encode_in_slices(value: Any) -> bytes:
    """As `encode_json`, for what may be megabytes: other tasks run every few milliseconds."""
    slices, parts = Slices(), list[bytes]()
    for part in _parts(value, _DEPTH):
        parts.append(part)
        await slices.pause()
    return b"".join(parts)


def _parts(value: Any, depth: int) -> Iterator[bytes]:
    """The JSON in parts: members of objects down to a depth, and a few items of a list at a time."""
    if depth and type(value) is dict and value:
        before = b"{"
        for name, member in value.items():
            yield b"%b%b:" % (before, encode_json(name))
            yield from _parts(member, depth - 1)
            before = b","
        yield b"}"
    elif type(value) is list and len(value) > _ITEMS:
        for start in range(0, len(value), _ITEMS):
            yield b"%b%b" % (b"," if start else b"[", encode_json(value[start : start + _ITEMS])[1:-1])
        yield b"]"
    else:
        yield encode_json(value)


def decoded(data: Any) -> Any:
    """Data that a plan made, of what JSON has and nothing else."""
    return json.loads(encode_json(data))


def write_date_time(value: Any) -> str:
    """RFC 3339 in UTC. Raises TypeError for what is no aware datetime."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        utc = value if value.tzinfo is UTC else value.astimezone(UTC)
        return utc.isoformat().removesuffix("+00:00") + "Z"
    raise TypeError(f"a DateTime is an aware datetime, not {value!r}")


def _plain(value: Any) -> Any:
    """Raises TypeError for what a plan does not make."""
    if isinstance(value, orjson.Fragment):
        return orjson.loads(orjson.dumps(value))
    return write_date_time(value)
