"""Patterns of tickets: regular expressions that cannot run away.

A pattern is run in the write path, on text that a caller gives. RE2 matches in time linear in the text, whatever the
pattern is; it has no back-references and no look-around, which is what that takes
(https://github.com/google/re2/wiki/Syntax). docs/decisions/0016-ticket-patterns-by-re2.md says why.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import re2

MAX_PATTERN: Final = 256
"""Of a pattern, in characters."""

_COMPILED_KEPT: Final = 256
_MEMORY: Final = 1 << 20
"""Of a compiled pattern, in bytes: RE2 refuses what takes more, and bounds what matching it remembers."""


def pattern_problem(pattern: str) -> str | None:
    """What is wrong with a pattern that is text already."""
    try:
        _compiled(pattern)
    except re2.error as error:
        return f"is not a regular expression of RE2: {_said(error)}"
    return None


def matches(pattern: str, ticket: str) -> bool:
    """Whether the pattern, which has no problem, matches the whole ticket."""
    return _compiled(pattern).fullmatch(ticket) is not None


@lru_cache(_COMPILED_KEPT)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    return re2.compile(pattern, options)


def _said(error: Exception) -> str:
    (said,) = error.args
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
