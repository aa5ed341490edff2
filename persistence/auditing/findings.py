"""What verification found, and where."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

MAX_FINDINGS: Final = 1_000
"""That are listed; all are counted."""


class Table(StrEnum):
    """Where something is wrong: the tables by their names in the database, or the anchor somebody kept."""

    CHANGES = "changes"
    HISTORY = "shard_history"
    HEAD = "stream_head"
    SHARDS = "shards"
    TOMBSTONES = "shard_tombstones"
    NAMESPACES = "namespaces"
    NAMESPACE_HEADS = "namespace_heads"
    NODES = "nodes"
    PLANS = "rebalance_plans"
    REFUSALS = "refusals"
    REFUSAL_HEAD = "refusal_head"
    ANCHOR = "anchor"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Finding:
    """`key` names the row: a change's or refusal's id, a revision, a range of them (`7..9`), or a name.

    `columns` are those that cannot be right, where that can be told; `problem` is a sentence.
    """

    table: Table
    key: str
    problem: str
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.table} {self.key}: {self.problem}"


@dataclass
class Findings:
    """Collects them, in bounds."""

    listed: list[Finding] = field(default_factory=list)
    count: int = 0

    def add(self, table: Table, key: object, problem: str, *columns: str) -> None:
        self.extend([Finding(table, str(key), problem, columns)], 1)

    def extend(self, findings: list[Finding], count: int) -> None:
        self.count += count
        self.listed += findings[: max(0, MAX_FINDINGS - len(self.listed))]


def span(first: int, last: int) -> str:
    """`7`, `7..9`."""
    return str(first) if first == last else f"{first}..{last}"
