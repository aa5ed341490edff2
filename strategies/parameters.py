"""The parameters a strategy takes: each has its default and finds what is wrong with a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

MAX_WEIGHT: Final = 2**20
"""The heaviest a node can be. Here, where nothing heavy is loaded, because clients check weights too."""


MAX_THRESHOLD: Final = 100
"""The per cent of its share that a node may be off by at most, where loads are balanced. Here for the same reason."""


class Parameter(Protocol):
    @property
    def default(self) -> object: ...

    @property
    def rule(self) -> str:
        """What is allowed, for documentation: "a whole number from 1 to 4,096"."""
        ...

    def problem(self, value: object) -> str | None:
        """None, or what is wrong: a predicate such as "must be a whole number from 1 to 4,096"."""
        ...


@dataclass(frozen=True, slots=True)
class IntegerParameter:
    """`default` null: the limit it stands for does not apply."""

    default: int | None
    minimum: int
    maximum: int

    @property
    def rule(self) -> str:
        return f"a whole number from {self.minimum:,} to {self.maximum:,}" + (", or null" * (self.default is None))

    def problem(self, value: object) -> str | None:
        if value is None and self.default is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and self.minimum <= value <= self.maximum:
            return None
        return f"must be {self.rule}"


@dataclass(frozen=True, slots=True)
class ChoiceParameter:
    default: str
    choices: tuple[str, ...]

    @property
    def rule(self) -> str:
        return f"one of {', '.join(self.choices)}"

    def problem(self, value: object) -> str | None:
        return None if value in self.choices else f"must be {self.rule}"


@dataclass(frozen=True, slots=True)
class TextParameter:
    """Text in a small language; `check` raises ValueError with a predicate for what it cannot read."""

    default: str
    rule: str
    check: Callable[[str], object]

    def problem(self, value: object) -> str | None:
        if not isinstance(value, str):
            return f"must be {self.rule}"
        try:
            self.check(value)
        except ValueError as error:
            return str(error)
        return None
