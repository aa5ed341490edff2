"""The items of a JSON array in a file, each with the line on which it begins."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from graph.cli.formats.problems import Problems
from graph.client.records import Json

_BLANK: Final = " \t\n\r"


def is_json(lines: Iterable[tuple[int, str]]) -> bool:
    return next(iter(lines), (0, ""))[1].lstrip().startswith(("{", "["))


def json_items(
    lines: Iterable[tuple[int, str]], members: tuple[str, ...], problems: Problems
) -> Iterator[tuple[int, str, Json]]:
    """(line, path, object) of the array that the document is, or is in its `members`, one in the other.

    What is no JSON, no such array, or no object in it is a problem of its line.
    """
    text = _text(lines)
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        problems.add(error.lineno, None, f"is not JSON: {error.msg} at character {error.colno}")
        return
    except (ValueError, RecursionError) as error:
        problem = "holds a number that is too long" if isinstance(error, ValueError) else "is nested too deeply"
        problems.add(1, None, problem)
        return
    start, path = _array(text, document, members)
    if start is None:
        problems.add(1, None, f"has no array {path}" if path else "must be an array, in brackets")
        return
    line, counted = 1, 0
    for index, (position, item) in enumerate(_items(text, start)):
        line += text.count("\n", counted, position)
        counted = position
        where = f"{path}[{index}]"
        if isinstance(item, dict):
            yield line, where, item
        else:
            problems.add(line, where, "must be an object, in braces")


def _text(lines: Iterable[tuple[int, str]]) -> str:
    """Every line at its number, of those that are not blank."""
    parts: list[str] = []
    for number, line in lines:
        parts += [""] * (number - 1 - len(parts))
        parts.append(line)
    return "\n".join(parts)


def _array(text: str, document: object, members: tuple[str, ...]) -> tuple[int | None, str]:
    """Where the array begins in the text, null where there is none, and its path."""
    position, path = _after_blanks(text, 0), ""
    for member in members:
        if not isinstance(document, dict):
            break
        path = f"{path}.{member}".lstrip(".")
        if member not in document:
            return None, path
        position, document = _member(text, position, member), document[member]
    return (position if isinstance(document, list) else None), path


def _member(text: str, position: int, member: str) -> int:
    """Where the value of a member of the object at `position` begins. The last of a name counts, as for `json`."""
    found = position
    position = _after_blanks(text, position + 1)
    while text[position] != "}":
        name, position = _DECODER.raw_decode(text, position)
        position = _after_blanks(text, _after_blanks(text, position) + 1)
        if name == member:
            found = position
        _, position = _DECODER.raw_decode(text, position)
        position = _after_comma(text, position)
    return found


def _items(text: str, position: int) -> Iterator[tuple[int, Any]]:
    position = _after_blanks(text, position + 1)
    while text[position] != "]":
        item, end = _DECODER.raw_decode(text, position)
        yield position, item
        position = _after_comma(text, end)


_DECODER: Final = json.JSONDecoder()


def _after_comma(text: str, position: int) -> int:
    position = _after_blanks(text, position)
    return _after_blanks(text, position + 1) if text[position] == "," else position


def _after_blanks(text: str, position: int) -> int:
    while position < len(text) and text[position] in _BLANK:
        position += 1
    return position
