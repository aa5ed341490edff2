"""SQL past the store, on a connection of its own."""

from __future__ import annotations

import asyncpg


async def fetch(url: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement, *arguments))
    finally:
        await connection.close()
