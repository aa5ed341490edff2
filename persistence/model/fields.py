"""The rule of each field, once. The database repeats them as named constraints (`postgres/tables`)."""

from __future__ import annotations

import difflib
import json
import math
import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from persistence.errors import FieldError, InvalidArgument
from persistence.model.records import IDENTIFIER_PATTERN, MAX_COUNTER, NAME_PATTERN
from strategies.parameters import MAX_WEIGHT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


IDENTIFIER_LENGTH: Final = 128

PLACE_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"

LOCALITY_PATTERN: Final = rf"(region:|zone:)?{PLACE_PATTERN}|{PLACE_PATTERN}/{PLACE_PATTERN}"

MAX_TEXT: Final = 1_024

MAX_SHARDS_PER_CHANGE: Final = 10_000

MAX_JSON_DEPTH: Final = 32

MAX_LABELS: Final = 64

MAX_FILTER_VALUES: Final = 1_000

MAX_PARAMETERS: Final = 16_384
"""Of a strategy's parameters, written as JSON, in characters."""

_identifier = re.compile(IDENTIFIER_PATTERN)

_name = re.compile(NAME_PATTERN)

_NAMES: Final = ("namespace", "name")
"""Arguments that are names, and no identifiers."""

_locality = re.compile(LOCALITY_PATTERN)

_place = re.compile(PLACE_PATTERN)

_label_key = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?")

_UNSHOWN: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters of Unicode (Cc), line and paragraph separators, and what changes the order in which text is shown:
https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters"""

_UNSHOWN_IN_LINE: Final = re.compile(rf"[\t\n]|{_UNSHOWN.pattern}")

_label_value = re.compile(r"[A-Za-z0-9._-]{0,128}")


Check: TypeAlias = "tuple[str, Callable[[Any], str | None] | None, Any]"
"""A field as the input names it, a rule and the value that must obey it. Without a rule the value is the message of one
that is broken."""


class Problems(list[FieldError]):
    """What is wrong with an input, all of it, so that the caller can mend everything at once.

    At most `limit` are collected: ten thousand identical complaints are of no use.
    """

    limit: Final = 100

    def add(self, field: str, message: str | None) -> None:
        if message is not None and len(self) < self.limit:
            self.append(FieldError(field, message))

    def check(self, checks: Iterable[Check]) -> None:
        for field, rule, value in checks:
            self.add(field, value if rule is None else rule(value))

    def raise_if_any(self) -> None:
        """Raises InvalidArgument with everything collected."""
        if self:
            raise InvalidArgument(*self)


def check_fields(path: str, *checks: Check) -> None:
    """Null breaks no rule, and a list is one of identifiers. Raises InvalidArgument naming every field, with `path`
    before its name."""
    problems = Problems()
    for field, rule, value in checks:
        if isinstance(value, list | tuple):
            add_identifiers_problems(problems, f"{path}{field}", value)
        elif value is not None:
            problems.check([(f"{path}{field}", rule, value)])
    problems.raise_if_any()


def check_identifiers(**identifiers: str | None) -> None:
    """Raises InvalidArgument naming each argument, spelt as in the schema, that is no identifier, or where it is a
    namespace, no name. Null is fine."""
    for name, value in identifiers.items():
        if value is not None and (_name if name in _NAMES else _identifier).fullmatch(value) is None:
            break
    else:
        return
    rules = dict.fromkeys(_NAMES, name_problem)
    check_fields("", *((name, rules.get(name, identifier_problem), value) for name, value in identifiers.items()))


def add_identifiers_problems(problems: Problems, path: str, values: Sequence[str] | None) -> None:
    if values is None:
        return
    if len(values) > MAX_FILTER_VALUES:
        problems.add(path, f"holds {len(values):,} values; at most {MAX_FILTER_VALUES:,} are allowed")
        return
    for index, value in enumerate(values):
        problems.add(f"{path}[{index}]", identifier_problem(value))


def identifier_problem(value: str) -> str | None:
    """Shard ids, node ids and groups."""
    if _identifier.fullmatch(value):
        return None
    return _misspelt(
        value,
        "is not an identifier: letters, digits and . _ : - @ / + = [ ], beginning with a letter, a digit or . _ -",
    )


def name_problem(value: str) -> str | None:
    """Namespaces and strategies."""
    if _name.fullmatch(value):
        return None
    return _misspelt(value, "is not a name: letters, digits, '.', '_', ':' and '-', beginning with a letter or digit")


def _misspelt(value: str, rule: str) -> str:
    """What is wrong with what matches no pattern."""
    if not value:
        return "must not be empty"
    if len(value) > IDENTIFIER_LENGTH:
        return f"is {len(value):,} characters long; at most {IDENTIFIER_LENGTH} are allowed"
    return f"{quoted(value)} {rule}"


def locality_problem(value: str) -> str | None:
    if _locality.fullmatch(value):
        return None
    return f"{quoted(value)} is not a locality: write 'region', 'region/zone', 'zone:x' or 'region:x'"


def text_problem(value: str, *, limit: int = MAX_TEXT) -> str | None:
    """Free text to be stored, such as a reason: not blank, bounded, encodable. It may have several lines, and shows in
    the order in which it is stored."""
    return stored_text_problem(value, limit=limit) or _hidden_problem(_UNSHOWN.search(value))


def line_problem(value: str) -> str | None:
    """Text of one line to be stored: actor and ticket. A line that is printed of them forges no other."""
    return stored_text_problem(value) or _hidden_problem(_UNSHOWN_IN_LINE.search(value))


def stored_text_problem(value: str, *, limit: int = MAX_TEXT) -> str | None:
    """Free text that may have been stored once, to look for, or as the key of a request that is repeated."""
    if not value.strip():
        return "must not be blank"
    return _encoding_problem(value) or _length_problem(value, limit)


def search_problem(value: str) -> str | None:
    """A fragment to look for: like free text, but blank only when empty."""
    return "must not be empty" if not value else _encoding_problem(value) or _length_problem(value, 128)


def capacity_problem(value: float) -> str | None:
    if not math.isfinite(value):
        return "must be a finite number"
    return None if value >= 0 else f"must be 0 or more, not {value:g}"


def weight_problem(value: object) -> str | None:
    """A node's weight: strategies compute with it in whole numbers."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_WEIGHT:
        return None
    return f"must be a whole number from 1 to {MAX_WEIGHT:,}, not {value}"


def place_problem(value: str) -> str | None:
    """A region or a zone, as locality hints can name it."""
    if _place.fullmatch(value):
        return None
    rule = "at most 128 letters, digits, '.', '_' and '-', beginning with a letter or digit"
    return f"{quoted(value)} is not a place: {rule}"


def add_label_problems(problems: Problems, labels: Mapping[str, Any], path: str = "labels") -> None:
    if len(labels) > MAX_LABELS:
        problems.add(path, f"holds {len(labels):,} labels; at most {MAX_LABELS} are allowed")
        return
    for key, value in labels.items():
        if not _label_key.fullmatch(key):
            rule = "at most 128 letters, digits, '.', '_', '/' and '-', with a letter or digit at both ends"
            problems.add(path, f"{quoted(key)} is not a key: {rule}")
        elif not isinstance(value, str) or not _label_value.fullmatch(value):
            problems.add(f"{path}.{key}", "must be at most 128 letters, digits, '.', '_' and '-'")


def counter_problem(value: int) -> str | None:
    """Versions and revisions: unsigned, and within a signed 64-bit column."""
    return None if 0 <= value <= MAX_COUNTER else f"must be between 0 and {MAX_COUNTER}, not {value}"


def json_problem(value: Any, *, limit: int = MAX_TEXT) -> str | None:
    """JSON metadata and parameters: finite numbers, strings as free text, bounded in depth and in written length."""
    problem = _json_value_problem(value, MAX_JSON_DEPTH)
    return problem or _length_problem(canonical_json(value), limit)


def canonical_json(value: Any) -> str:
    """The one way this store writes JSON: sorted keys, no spaces, no escapes beyond the necessary."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def quoted(value: str) -> str:
    """A value as it may stand in a message: bounded, quoted, and always encodable."""
    text = value if len(value) <= 40 else value[:37] + "..."  # noqa: PLR2004 - what fits a line of a log
    return ascii(text)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: `; did you mean orders?`, or nothing where none is near."""
    nearest = difflib.get_close_matches(name[:IDENTIFIER_LENGTH], known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet run a cell that begins with it; https://owasp.org/www-community/attacks/CSV_Injection."""


def neutralized(cell: str) -> str:
    """With an apostrophe before what a spreadsheet would run, which it takes for text then."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell


def _encoding_problem(value: str) -> str | None:
    if "\0" in value:
        return "must not contain NUL"
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"is not valid Unicode: a lone surrogate at character {error.start + 1}"
    return None


def _hidden_problem(found: re.Match[str] | None) -> str | None:
    if found is None:
        return None
    return f"must not contain the control character U+{ord(found[0]):04X} (character {found.start() + 1})"


def _length_problem(value: str, limit: int) -> str | None:
    return None if len(value) <= limit else f"is {len(value):,} characters long; at most {limit:,} are allowed"


def _json_value_problem(value: Any, depth: int) -> str | None:  # noqa: PLR0911 - one answer for each kind of value
    match value:
        case None | bool():
            return None
        case str():
            return _encoding_problem(value)
        case int():
            # Most JSON libraries, the one that writes our responses among them, stop at 64 bits.
            return None if -MAX_COUNTER - 1 <= value <= MAX_COUNTER else "must hold integers of at most 64 bits"
        case float():
            return None if math.isfinite(value) else "must hold finite numbers only"
        case dict():
            members = [*value.keys(), *value.values()]
        case list() | tuple():
            members = list(value)
        case _:
            return f"must be JSON, not {type(value).__name__}"
    if depth == 0:
        return f"is nested more than {MAX_JSON_DEPTH} levels deep"
    return next((problem for member in members if (problem := _json_value_problem(member, depth - 1))), None)


ID_LENGTH: Final = 32

_ID: Final = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")


def plan_id_problem(value: str) -> str | None:
    return None if _ID.fullmatch(value) else f"must be the id of a plan: {ID_LENGTH} hex digits"
