"""Reading rebalance plans."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Text, bindparam, cast, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.errors import PlanCorrupt
from persistence.model.paging import Page, PageRequest
from persistence.model.plans import RebalancePlan
from persistence.model.queries import PlanFilter
from persistence.planning.proposal import Proposal, document_id, read_proposal
from persistence.postgres.engine import translated
from persistence.postgres.readers.keyset import (
    STATEMENTS_KEPT,
    AnySelect,
    PageShape,
    conditions,
    contains_item,
    counted_keyset,
    filter_values,
    one_of,
    page_from,
    page_shape,
    page_values,
    used_fields,
)
from persistence.postgres.rows import APPROVING, CREATING, LATEST, PLAN, PLAN_STATUS, plan_of
from persistence.postgres.tables.current import STREAM_HEAD
from persistence.postgres.tables.plans import PLAN_DOCUMENTS, PLANS

SELECT_PLAN: Final = (
    select(*PLAN)
    .join(CREATING, CREATING.c.id == PLANS.c.change_id)
    .join(LATEST, LATEST.c.id == PLANS.c.latest_change_id)
    .outerjoin(APPROVING, APPROVING.c.id == PLANS.c.approved_change_id)
)
"""Columns in the order of PLAN."""

THIS_PLAN: Final = PLANS.c.id == bindparam("plan_id")

ONE_PLAN: Final = SELECT_PLAN.where(THIS_PLAN)

# As text: it is parsed once, by us.
DOCUMENT: Final = cast(PLAN_DOCUMENTS.c.document, Text)

_DOCUMENT: Final = select(DOCUMENT).where(PLAN_DOCUMENTS.c.id == bindparam("plan_id"))

_LONG: Final = 100_000

_NEWEST_CHANGE: Final = select(STREAM_HEAD.c.change_id.label("newest_change")).scalar_subquery()

_READ_PLAN: Final = ONE_PLAN.add_columns(_NEWEST_CHANGE)


class PostgresPlans:
    """PlanReader."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read

    async def get(self, plan_id: str) -> RebalancePlan | None:
        with translated():
            async with self._read() as session:
                row = (await session.execute(_READ_PLAN, {"plan_id": plan_id})).one_or_none()
        return None if row is None else _plan_read(row)

    async def proposal(self, plan_id: str) -> Proposal | None:
        with translated():
            async with self._read() as session:
                document = (await session.execute(_DOCUMENT, {"plan_id": plan_id})).scalar_one_or_none()
        return None if document is None else await stored_proposal(plan_id, document)

    async def page(self, where: PlanFilter, page: PageRequest[int]) -> Page[RebalancePlan]:
        statement = _page(used_fields(where), page_shape(page))
        with translated():
            async with self._read() as session:
                rows = (await session.execute(statement, filter_values(where) | page_values(page))).all()
        return page_from(rows, page, lambda found: [_plan_read(row) for row in found])


async def stored_proposal(plan_id: str, document: str) -> Proposal:
    """What is kept under the id, in a thread where reading it takes long enough to be noticed by everybody else.

    Raises PlanCorrupt for a document that does not name itself so: whatever was reviewed, it was not this.
    """
    if len(document) < _LONG:
        return _read(plan_id, document)
    return await asyncio.to_thread(_read, plan_id, document)


def _plan_read(row: Sequence[Any]) -> RebalancePlan:
    *plan, newest_change = row
    return replace(plan_of(plan), newest_change=newest_change)


def _read(plan_id: str, document: str) -> Proposal:
    if document_id(document) != plan_id:
        raise PlanCorrupt(plan_id, f"its document is that of {document_id(document)}")
    try:
        return read_proposal(document)
    except (ValueError, KeyError, TypeError) as error:
        raise PlanCorrupt(plan_id, f"this version of the program cannot read it ({error})") from error


_RESTRICTIONS: Final = {
    "namespace": contains_item(PLANS.c.namespaces),
    "statuses": one_of(PLAN_STATUS),
    "kinds": one_of(PLANS.c.kind),
}


@lru_cache(STATEMENTS_KEPT)
def _page(used: tuple[str, ...], shape: PageShape) -> AnySelect:
    restricted = conditions(_RESTRICTIONS, used)
    count = select(func.count()).select_from(PLANS).where(*restricted)
    return counted_keyset(
        SELECT_PLAN.add_columns(_NEWEST_CHANGE).where(*restricted), count, (PLANS.c.change_id,), shape, descending=True
    )
