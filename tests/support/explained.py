"""What PostgreSQL does for the statements that are sent, by EXPLAIN: which tables it reads whole, and how many rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from unittest import mock

import asyncpg

from persistence.postgres.reads import Read

LONG_TABLES: Final = ("shard_history", "changes", "shards", "shard_tombstones", "refusals")
"""Beginnings of the names of tables that no statement may read whole."""


@dataclass(frozen=True, slots=True)
class Sent:
    text: str
    arguments: Sequence[Any]

    @property
    def is_search(self) -> bool:
        """Whether it looks at a bounded number of rows for those that match, or counts so many."""
        return "looked_at" in self.text or "counted" in self.text

    @property
    def is_planned_for_parameters(self) -> bool:
        return "2147483647" in self.text


@contextmanager
def sent_reads() -> Iterator[list[Sent]]:
    """Every read by the driver."""
    sent: list[Sent] = []

    async def noted(read: Read, sessions: Any, values: Mapping[str, Any]) -> Any:
        text, parameters = read._compiled  # noqa: SLF001 - what is sent
        sent.append(Sent(text, [values.get(name, default) for name, default in parameters]))
        return await rows(read, sessions, values)

    rows = Read.rows
    with mock.patch.object(Read, "rows", noted):
        yield sent


@dataclass(frozen=True, slots=True)
class Explained:
    """`rows` of all tables that were read or looked at in an index, those that did not match included."""

    read_whole: Sequence[str]
    rows: int
    blocks: int
    milliseconds: float
    plan: str


async def explain(connection: asyncpg.Connection, sent: Sent, *, generic: bool) -> Explained:
    """Executes it under a plan for its arguments, or under the one that PostgreSQL would have for any."""
    await connection.execute(f"SET plan_cache_mode = force_{'generic' if generic else 'custom'}_plan")
    await connection.execute(f"PREPARE explained AS {sent.text}")
    arguments = ", ".join(map(_literal, sent.arguments))
    try:
        execute = f"EXECUTE explained ({arguments})" if sent.arguments else "EXECUTE explained"
        ((answer,),) = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {execute}")
    finally:
        await connection.execute("DEALLOCATE explained")
    (plan,) = json.loads(answer)
    nodes = list(_nodes(plan["Plan"]))
    return Explained(
        [
            node["Relation Name"]
            for node in nodes
            if node["Node Type"] == "Seq Scan" and _is_long(node) and node["Actual Loops"]
        ],
        sum(map(_rows, nodes)),
        plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"],
        plan["Execution Time"],
        answer,
    )


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)


def _is_long(node: Mapping[str, Any]) -> bool:
    return any(node.get("Relation Name", "").startswith(name) for name in LONG_TABLES)


def _rows(node: Mapping[str, Any]) -> int:
    if "Scan" not in node["Node Type"] or not (_is_long(node) or node["Node Type"] == "Bitmap Index Scan"):
        return 0
    removed = sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
    return int((node["Actual Rows"] + removed) * node["Actual Loops"])


def _literal(value: Any) -> str:
    """Of no type: it takes that of the parameter."""
    if value is None:
        return "NULL"
    if isinstance(value, list | tuple):
        value = "{" + ",".join(json.dumps(str(item)) for item in value) + "}"
    elif isinstance(value, datetime):
        value = value.isoformat()
    return "'" + str(value).replace("'", "''") + "'"
