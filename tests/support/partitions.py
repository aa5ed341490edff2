"""History in small partitions, where tests need many."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.pool import NullPool

from persistence.postgres.engine import engine_on
from persistence.postgres.partitions import Partition, append, partitions


async def repartition(url: str, span: int) -> None:
    """Begin an empty history anew, with a first partition of `span` revisions."""
    engine = engine_on(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        for partition in await partitions(connection):
            await connection.execute(text(f"DROP TABLE {partition.name}"))
        await append(connection, span)
    await engine.dispose()


async def partitions_of(url: str) -> list[Partition]:
    engine = engine_on(url, poolclass=NullPool)
    async with engine.connect() as connection, AsyncSession(connection) as session:
        found = await partitions(session)
    await engine.dispose()
    return found
