"""Reading changes: who did what, why, under which ticket."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from sqlalchemy import BigInteger, Text, bindparam, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.model.paging import Page, PageRequest
from persistence.model.queries import ChangeFilter
from persistence.model.records import Change
from persistence.postgres.engine import translated
from persistence.postgres.readers.keyset import (
    STATEMENTS_KEPT,
    AnySelect,
    PageShape,
    Restriction,
    at_least,
    at_most,
    below,
    conditions,
    contains_item,
    counted_keyset,
    equals_text,
    filter_values,
    one_of,
    page_from,
    page_shape,
    page_values,
    used_fields,
)
from persistence.postgres.rows import CHANGE, change_of
from persistence.postgres.tables.history import CHANGES


class PostgresChanges:
    """ChangeReader."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read

    async def page(self, where: ChangeFilter, page: PageRequest[int], *, newest_first: bool) -> Page[Change]:
        statement = _page(used_fields(where), page_shape(page), newest_first)
        with translated():
            async with self._read() as session:
                rows = (await session.execute(statement, filter_values(where) | page_values(page))).all()
        return page_from(rows, page, lambda found: [change_of(row) for row in found])

    async def content_digests(self, after: int, limit: int) -> Sequence[bytes]:
        with translated():
            async with self._read() as session:
                return (
                    (await session.execute(_CONTENT_DIGESTS, {"after_id": after, "page_limit": limit})).scalars().all()
                )


_CONTENT_DIGESTS: Final = (
    select(CHANGES.c.content_digest)
    .where(CHANGES.c.id > bindparam("after_id", type_=BigInteger))
    .order_by(CHANGES.c.id)
    .limit(bindparam("page_limit", type_=BigInteger))
)

# The member's name is part of the statement: as a parameter it would not match the expression that is indexed.
PLAN_OF_CHANGE: Final = CHANGES.c.configuration.op("->>", return_type=Text())(literal_column("'plan'"))

_RESTRICTIONS: Final[Mapping[str, Restriction]] = {
    "namespace": contains_item(CHANGES.c.namespaces),
    "actor": equals_text(CHANGES.c.actor),
    "change_ticket": equals_text(CHANGES.c.change_ticket),
    "kinds": one_of(CHANGES.c.kind),
    "plan_id": lambda name: bindparam(name, type_=Text()) == PLAN_OF_CHANGE,
    "up_to_id": at_most(CHANGES.c.id),
    "since": at_least(CHANGES.c.committed_at),
    "until": below(CHANGES.c.committed_at),
}


@lru_cache(STATEMENTS_KEPT)
def _page(used: tuple[str, ...], shape: PageShape, newest_first: bool) -> AnySelect:  # noqa: FBT001 - part of the key
    restricted = conditions(_RESTRICTIONS, used)
    count = select(func.count()).select_from(CHANGES).where(*restricted)
    return counted_keyset(select(*CHANGE).where(*restricted), count, (CHANGES.c.id,), shape, descending=newest_first)
