"""Audits in small pages, with something done before each of their statements."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from persistence.postgres.audit import binary_copy, current_state, reader, segments
from persistence.postgres.driver import Connection

Hook = Callable[[asyncpg.Connection], Awaitable[None]]


def small_pages(patched: pytest.MonkeyPatch, size: int) -> None:
    """So many rows in each page, and some pages in each segment."""
    patched.setattr(segments, "SEGMENT_ROWS", 3 * size)
    patched.setattr(binary_copy, "PAGE", size)
    _limit(patched, reader, reader.BLOCK, size, "_CHANGES", "_ROWS", "_REFUSALS")
    _limit(patched, current_state, current_state.TABLES_PAGE, size, "_SHARDS")
    patched.setattr(current_state, "TABLES_PAGE", size)
    _limit(patched, current_state, current_state.PLANS_PAGE, size, "_PLANS", "_PLANNED")


def _limit(patched: pytest.MonkeyPatch, module: Any, limit: int, size: int, *names: str) -> None:
    for name in names:
        statement = getattr(module, name)
        assert f"LIMIT {limit}" in statement
        patched.setattr(module, name, statement.replace(f"LIMIT {limit}", f"LIMIT {size}"))


def before_each_statement(patched: pytest.MonkeyPatch, hook: Hook) -> None:
    """Of connections that audits read with; not of those that the hook uses."""
    within = False

    def hooked(name: str) -> Any:
        original = getattr(asyncpg.Connection, name)

        async def call(connection: asyncpg.Connection, *arguments: Any, **named: Any) -> Any:
            nonlocal within
            if connection.get_settings().application_name == "omnirelay audit" and not within:
                within = True
                try:
                    await hook(connection)
                finally:
                    within = False
            return await original(connection, *arguments, **named)

        return call

    for name in ("fetch", "fetchrow", "fetchval", "copy_from_query"):
        patched.setattr(Connection, name, hooked(name), raising=False)
