"""How much of the window of moves of a namespace is used."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, Boolean, Interval, Text, bindparam, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.postgres.readers.keyset import fetch, nothing_passed
from persistence.postgres.reads import Read
from persistence.postgres.tables.history import CHANGES, HISTORY, MOVES, VOLUNTARY_MOVES


def _use(condition: str) -> Read:
    """The newest moves of the window, no more than `most`, and when the oldest of them was made. They are read in the
    order of revisions, which only an index has."""
    begins = func.clock_timestamp() - bindparam("length", type_=Interval)
    newest_before = (
        select(CHANGES.c.head_revision)
        .where(CHANGES.c.committed_at <= begins)
        .order_by(CHANGES.c.committed_at.desc(), CHANGES.c.id.desc())
        .limit(literal_column("1"))
        .scalar_subquery()
    )
    moves = (
        select(HISTORY.c.revision, HISTORY.c.change_id)
        .where(
            HISTORY.c.namespace == bindparam("namespace", type_=Text(collation="C")),
            HISTORY.c.revision > func.coalesce(newest_before, 0),
            literal_column(condition, Boolean),
            nothing_passed(HISTORY.c.revision),
        )
        .order_by(HISTORY.c.revision.desc())
        .limit(bindparam("most", type_=BigInteger))
        .cte("moves")
    )
    oldest = select(moves.c.change_id).order_by(moves.c.revision).limit(literal_column("1")).scalar_subquery()
    made_at = select(CHANGES.c.committed_at).where(CHANGES.c.id == oldest).scalar_subquery()
    return Read(select(select(func.count()).select_from(moves).scalar_subquery(), made_at))


_USE: Final = {True: _use(MOVES), False: _use(VOLUNTARY_MOVES)}
"""By whether involuntary moves are counted."""


async def window_use(
    sessions: async_sessionmaker[AsyncSession], namespace: str, seconds: int, most: int, *, involuntary: bool
) -> tuple[int, datetime | None]:
    """As `HistoryReader.window_use`."""
    values = {"namespace": namespace, "length": timedelta(seconds=seconds), "most": most}
    ((used, oldest_at),) = await fetch(sessions, _USE[involuntary], values)
    return used, oldest_at
