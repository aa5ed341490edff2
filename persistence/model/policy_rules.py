"""What a policy may hold. The database repeats the bounds as named constraints (`postgres/tables`).

A ticket's pattern is run in the write path, on text that a caller gives. RE2 matches in time linear in the text,
whatever the pattern is; it has no back-references and no look-around, which is what that takes
(https://github.com/google/re2/wiki/Syntax). docs/decisions/0016-ticket-patterns-by-re2.md has the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import re2

from persistence.model.fields import Problems, quoted, text_problem
from persistence.model.policy import FreezeWindow, NamespacePolicy
from persistence.model.recurring_freezes import freeze_problems

MAX_WINDOW_SECONDS: Final = 30 * 24 * 60 * 60

MAX_WINDOW_MOVES: Final = 1_000_000_000

MAX_FREEZES: Final = 32

MAX_RECURRING_FREEZES: Final = 16

MAX_PATTERN: Final = 256
"""Of a pattern, in characters."""

_CACHED_PATTERNS: Final = 256

_MEMORY: Final = 1 << 20
"""Of a compiled pattern, in bytes: RE2 refuses what takes more, and bounds what matching it remembers."""


def add_policy_problems(problems: Problems, policy: NamespacePolicy) -> None:
    """Names the fields as the API writes them: `policy.ticketPattern`, `policy.freezes[0].ends`."""
    if policy.ticket_pattern is not None:
        pattern = policy.ticket_pattern
        problems.add("policy.ticketPattern", text_problem(pattern, limit=MAX_PATTERN) or pattern_problem(pattern))
    problems.add("policy.moveBudgetPercent", _percent_problem(policy.move_budget_percent))
    problems.add("policy.windowSeconds", _range_problem(policy.window_seconds, MAX_WINDOW_SECONDS))
    for name, moves in (("windowMoves", policy.window_moves), ("shardWindowMoves", policy.shard_window_moves)):
        if moves is not None:
            problems.add(f"policy.{name}", _range_problem(moves, MAX_WINDOW_MOVES))
    if len(policy.freezes) > MAX_FREEZES:
        problems.add("policy.freezes", f"holds {len(policy.freezes):,} windows; at most {MAX_FREEZES} are allowed")
        return
    for index, freeze in enumerate(policy.freezes):
        for name, message in _freeze_problems(freeze):
            problems.add(f"policy.freezes[{index}].{name}", message)
    if (count := len(policy.recurring_freezes)) > MAX_RECURRING_FREEZES:
        problems.add("policy.recurringFreezes", f"holds {count:,}; at most {MAX_RECURRING_FREEZES} are allowed")
        return
    for index, recurring in enumerate(policy.recurring_freezes):
        path = f"policy.recurringFreezes[{index}]"
        problems.add(f"{path}.reason", text_problem(recurring.reason))
        for name, message in freeze_problems(recurring):
            problems.add(f"{path}.{name}", message)


def _percent_problem(value: float) -> str | None:
    if math.isfinite(value) and 0 < value <= 100:  # noqa: PLR2004 - percent
        return None
    return f"must be more than 0 and at most 100, not {value:g}"


def _range_problem(value: int, most: int) -> str | None:
    return None if 1 <= value <= most else f"must be between 1 and {most:,}, not {value:,}"


def _freeze_problems(freeze: FreezeWindow) -> Iterator[tuple[str, str | None]]:
    for name, time in (("begins", freeze.begins), ("ends", freeze.ends)):
        if time.tzinfo is None:
            yield name, f"{quoted(time.isoformat())} has no time zone: write for example 2026-01-31T09:30:00Z"
            return
    if freeze.ends <= freeze.begins:
        yield "ends", f"must be after begins, {freeze.begins.isoformat()}"
    yield "reason", text_problem(freeze.reason)


def pattern_problem(pattern: str) -> str | None:
    """What is wrong with a pattern that is text already."""
    try:
        _compiled(pattern)
    except re2.error as error:
        return f"is not a regular expression of RE2: {_message(error)}"
    return None


def matches(pattern: str, ticket: str) -> bool:
    """Whether the pattern, which has no problem, matches the whole ticket."""
    return _compiled(pattern).fullmatch(ticket) is not None


@lru_cache(_CACHED_PATTERNS)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    return re2.compile(pattern, options)


def _message(error: Exception) -> str:
    (message,) = error.args
    return message.decode(errors="replace") if isinstance(message, bytes) else str(message)
