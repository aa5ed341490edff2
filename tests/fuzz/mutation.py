"""Inputs that are nearly right: real ones, changed in their bytes, their tokens, their lines or their JSON.

Everything that is decided is drawn from a `random.Random`. Hypothesis hands one in that it can replay and shrink,
`make fuzz` one that reads the bytes which atheris has found to reach new code, and the long runs one with a seed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, TypeAlias

from persistence.codec import cursors

Mutate: TypeAlias = "Callable[[Random, bytes], bytes]"

_BYTES: Final = (
    *(
        b"",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x92\xa9",
        b"\xe2\x80\xa8",
        b"\r\n",
        b"\r",
        b"\n",
    ),
    *(b'"', b"'", b"\\", b"\\u0000", b"\\ud800", b"{", b"}", b"[", b"]", b",", b":", b"=", b"#", b"%00", b"%", b"&"),
    *(
        b"-1",
        b"0",
        b"1e400",
        b"NaN",
        b"Infinity",
        b"2147483648",
        b"9223372036854775808",
        b"1" * 5_000,
        b"null",
        b"true",
    ),
    *(b"[" * 3_000, b"{" * 500, b'{"a":' * 3_000, b"(" * 500, b"a" * 10_000, b"a." * 2_000, b"--", b"\t", b" " * 300),
)
"""What readers stumble over, as it is written."""

_TEXTS: Final = (
    *("", "\0", "\ud800", "é", "💩", "a\nb", " ", "a/b", "..", "x" * 300, "x" * 70_000, "-1", "0", "1", "007"),
    *("9223372036854775807", "9223372036854775808", "1e3", "NaN", "billing", "first", "node-a", "CHG-1", "ring", "*"),
    *("2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999+14:00", "2026-02-30", "eu/eu-1"),
)

_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, -1, 0, 1, 2, 500, 501, 2**31 - 1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63, -(2**63), 10**400),
    *(0.5, -0.0, 1e308, 5e-324, float("inf"), float("nan"), [], {}, [[]], [None], {"": None}, {"__proto__": {}}),
)

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|\w+|\s+|.', re.DOTALL)


def damaged(random: Random, data: bytes) -> bytes:
    """With up to three changes of bytes."""
    for _ in range(random.randint(1, 3)):
        begin = random.randint(0, len(data))
        end = min(len(data), begin + random.choice((0, 1, 1, 2, 8, 64, 100_000)))
        put = random.choice(("nothing", "bytes", "flipped", "again"))
        if put == "nothing":
            middle = b""
        elif put == "bytes":
            middle = random.choice(_BYTES)
        elif put == "flipped":
            middle = bytes(byte ^ 1 << random.randint(0, 7) for byte in data[begin : begin + 1])
            end = begin + 1
        else:
            middle = data[begin:end] * 2
        data = data[:begin] + middle + data[end:]
    return data


def with_other_tokens(random: Random, data: bytes) -> bytes:
    """Words and signs left out, doubled, exchanged for others of the same text, or for what readers stumble over."""
    tokens = _TOKEN.findall(data) or [b""]
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(tokens))
        put = random.choice(("nothing", "twice", "other", "bytes", "run"))
        if put == "nothing":
            tokens[at] = b""
        elif put == "twice":
            tokens[at] *= 2
        elif put == "other":
            tokens[at] = tokens[random.randrange(len(tokens))]
        elif put == "bytes":
            tokens[at] = random.choice(_BYTES)
        else:
            tokens[at:at] = tokens[at : at + random.choice((3, 10, 30))] * random.choice((1, 1, 20))
    return b"".join(tokens)


def with_other_lines(random: Random, data: bytes) -> bytes:
    """Lines left out, doubled, exchanged, and one of them changed as JSON, by tokens or by bytes."""
    lines = data.splitlines(keepends=True) or [b""]
    at, other = random.randrange(len(lines)), random.randrange(len(lines))
    put = random.choice(("nothing", "twice", "exchanged", "changed", "changed", "changed", "cut"))
    if put == "nothing":
        del lines[at]
    elif put == "twice":
        lines.insert(other, lines[at])
    elif put == "exchanged":
        lines[at], lines[other] = lines[other], lines[at]
    elif put == "cut":
        del lines[at:]
    else:
        lines[at] = random.choice((as_other_json, with_other_tokens, damaged))(random, lines[at])
    return b"".join(lines)


def as_other_json(random: Random, data: bytes) -> bytes:
    """Another value in the place of one or two; of what is no JSON, other tokens. As long a line as before."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return with_other_tokens(random, data)
    for _ in range(random.randint(1, 2)):
        document = other_value(random, document)
    try:
        # Escaped, which is how a lone surrogate arrives.
        return json.dumps(document).encode() + b"\n" * data.endswith(b"\n")
    except (ValueError, RecursionError):  # a circle there is not, but more depth than is written
        return b"[" * 100_000


def other_value(random: Random, document: Any) -> Any:
    """The document with one value changed, somewhere in it."""
    inside = isinstance(document, dict | list) and bool(document) and random.random() < 0.8
    if inside and isinstance(document, dict):
        name = random.choice(list(document))
        put = random.choice(("deeper", "deeper", "deeper", "nothing", "renamed", "added"))
        if put == "deeper":
            return {**document, name: other_value(random, document[name])}
        if put == "nothing":
            return {each: value for each, value in document.items() if each != name}
        new = random.choice((*document, *_TEXTS))
        return {**document, new: document[name]} if put == "renamed" else {**document, new: random_value(random)}
    if inside:
        at = random.randrange(len(document))
        many = random.choice((1, 1, 1, 0, 2, 50))
        return [*document[:at], *[other_value(random, document[at])] * many, *document[at + 1 :]]
    return random_value(random, document)


def random_value(random: Random, before: Any = None) -> Any:
    kind = random.choice(("value", "text", "cursor", "wrapped", "deep"))
    if kind == "value":
        return random.choice(_VALUES)
    if kind == "text":
        return random.choice(_TEXTS)
    if kind == "cursor":
        return random_cursor(random)
    for _ in range(1 if kind == "wrapped" else random.choice((20, 200, 900))):
        before = [before] if kind == "wrapped" else {"a": before}
    return before


def random_cursor(random: Random) -> str:
    """Of any kind, with a right check over fields of any kind, or a wrong one."""
    kind = random.choice("skhdcnopmr?")
    fields = [random.choice((*_TEXTS, "epoch", "placement_changed", "0" * 16)) for _ in range(random.randint(0, 7))]
    body = (kind + "\0".join(fields)).encode("utf-8", "surrogatepass")
    cursor = cursors._encoded(body + cursors._check(body))  # noqa: SLF001 - a forger knows how cursors are made
    return cursor if random.random() < 0.8 else damaged(random, cursor.encode()).decode("latin-1")


def one_of(*mutations: Mutate) -> Mutate:
    """One of these; one time in eight the input is as it was."""

    def mutate(random: Random, data: bytes) -> bytes:
        return data if random.randrange(8) == 0 else random.choice(mutations)(random, data)

    return mutate


def nearly(random: Random, seeds: Sequence[bytes], mutate: Mutate) -> bytes:
    """One of the seeds, changed."""
    return mutate(random, random.choice(seeds))
