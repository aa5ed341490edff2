"""JSON Lines: an object a line, its members named like the columns."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from graph.cli.imports.problems import Problems
from graph.cli.imports.rows import COLUMNS
from persistence.fields import shown


def json_values(lines: Iterable[tuple[int, str]], problems: Problems) -> Iterator[tuple[int, dict[str, object]]]:
    """(line, column -> value) of every line that is an object with members we know."""
    for number, line in lines:
        try:
            document = json.loads(line, object_pairs_hook=_members, parse_constant=_refuse)
        except json.JSONDecodeError as error:
            problems.add(number, None, f"is not JSON: {error.msg} at character {error.colno}")
        except (ValueError, RecursionError) as error:
            problems.add(number, None, str(error) if isinstance(error, ValueError) else "is nested too deeply")
        else:
            if _is_row(number, document, problems):
                yield number, document


def _is_row(number: int, document: object, problems: Problems) -> bool:
    if not isinstance(document, dict):
        problems.add(number, None, "must be an object, in braces")
        return False
    unknown = [name for name in document if name not in COLUMNS]
    for name in unknown:
        problems.add(number, None, f"there is no member {shown(name)}: there are {', '.join(COLUMNS)}")
    return not unknown


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("names a member twice")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON: numbers must be finite")
