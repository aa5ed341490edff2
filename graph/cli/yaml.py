"""YAML of what JSON can hold: block style, each value such that YAML 1.1 and 1.2 read it as JSON would.

Strings are plain only where no reader takes them for anything else; all others are in double quotes. Control characters
and what is not printable are escaped.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./()-]+)*", re.ASCII)

_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})
"""Which some reader takes for something else than text, in whatever case."""

_INDENT: Final = "  "


def to_yaml(document: object) -> str:
    """One document, without a line break at its end."""
    return "\n".join(_lines(document))


def _lines(value: object) -> Iterator[str]:
    match value:
        case dict() if value:
            for key, item in value.items():
                yield from _entry(f"{_scalar(key)}:", item)
        case list() | tuple() if value:
            for item in value:
                first, *rest = _lines(item)
                yield f"- {first}"
                yield from (f"{_INDENT}{line}" for line in rest)
        case _:
            yield _scalar(value)


def _entry(key: str, value: object) -> Iterator[str]:
    if isinstance(value, dict | list | tuple) and value:
        yield key
        yield from (f"{_INDENT}{line}" for line in _lines(value))
    else:
        yield f"{key} {_scalar(value)}"


def _scalar(value: object) -> str:
    match value:
        case str():
            return value if _PLAIN.fullmatch(value) and value.lower() not in _WORDS else _quoted(value)
        case float():
            return _decimal(value)
        case dict():
            return "{}"
        case list() | tuple():
            return "[]"
        case _:
            return json.dumps(value)


def _quoted(text: str) -> str:
    return "".join(map(_character, json.dumps(text, ensure_ascii=False)))


def _character(character: str) -> str:
    if character.isprintable():
        return character
    return f"\\U{ord(character):08x}"


def _decimal(value: float) -> str:
    """With a decimal point, without which YAML 1.1 takes 1e+16 for text."""
    mantissa, exponent, power = repr(value).partition("e")
    return f"{mantissa}{'' if '.' in mantissa else '.0'}{exponent}{power}"
