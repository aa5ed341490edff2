"""Reading changes: the list of them, and their content digests in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import BigInteger, Text, bindparam, literal_column, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.model.paging import Page, PageRequest
from persistence.model.queries import ChangeFilter
from persistence.model.records import Change
from persistence.postgres.readers.keyset import (
    PagedList,
    at_least,
    at_most,
    below,
    contains_item,
    each,
    equals_text,
    fetch,
    one_of,
)
from persistence.postgres.reads import Read
from persistence.postgres.rows import CHANGE, change_of
from persistence.postgres.tables.history import CHANGES

# The member's name is part of the statement: as a parameter it would not match the indexed expression.
PLAN_OF_CHANGE: Final = CHANGES.c.configuration.op("->>", return_type=Text())(literal_column("'plan'"))

_CHANGES: Final = PagedList(
    select(*CHANGE),
    CHANGES,
    CHANGES.c.id,
    each(change_of),
    {
        "namespace": contains_item(CHANGES.c.namespaces),
        "actor": equals_text(CHANGES.c.actor),
        "change_ticket": equals_text(CHANGES.c.change_ticket),
        "kinds": one_of(CHANGES.c.kind),
        "plan_id": lambda name: bindparam(name, type_=Text()) == PLAN_OF_CHANGE,
        "up_to_id": at_most(CHANGES.c.id),
        "since": at_least(CHANGES.c.committed_at),
        "until": below(CHANGES.c.committed_at),
    },
)

_CONTENT_DIGESTS: Final = Read(
    select(CHANGES.c.content_digest)
    .where(CHANGES.c.id > bindparam("after_id", type_=BigInteger))
    .order_by(CHANGES.c.id)
    .limit(bindparam("page_limit", type_=BigInteger))
)


class PostgresChanges:
    """ChangeReader."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read

    async def page(self, where: ChangeFilter, page: PageRequest[int], *, newest_first: bool) -> Page[Change]:
        return await _CHANGES.page(self._read, where, page, descending=newest_first)

    async def content_digests(self, after: int, limit: int) -> Sequence[bytes]:
        rows = await fetch(self._read, _CONTENT_DIGESTS, {"after_id": after, "page_limit": limit})
        return [digest for (digest,) in rows]
