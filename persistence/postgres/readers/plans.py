"""Reading rebalance plans."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Text, bindparam, cast, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.errors import PlanCorrupt
from persistence.model.paging import Page, PageRequest
from persistence.model.plans import RebalancePlan
from persistence.model.queries import PlanFilter
from persistence.planning.proposal import Proposal, document_id, read_proposal
from persistence.postgres.readers.keyset import contains_item, each, fetch, one_of
from persistence.postgres.readers.paged_list import PagedList
from persistence.postgres.reads import Read
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

# As text: it is parsed once, in `stored_proposal`.
DOCUMENT: Final = cast(PLAN_DOCUMENTS.c.document, Text)

_DOCUMENT: Final = Read(select(DOCUMENT).where(PLAN_DOCUMENTS.c.id == bindparam("plan_id")))

_NEWEST_CHANGE: Final = select(STREAM_HEAD.c.change_id.label("newest_change")).scalar_subquery()

_ONE_PLAN: Final = Read(ONE_PLAN.add_columns(_NEWEST_CHANGE))


def _plan_with_newest_change(row: Sequence[Any]) -> RebalancePlan:
    *plan, newest_change = row
    return replace(plan_of(plan), newest_change=newest_change)


_PLANS: Final = PagedList(
    SELECT_PLAN.add_columns(_NEWEST_CHANGE),
    PLANS,
    PLANS.c.change_id,
    each(_plan_with_newest_change),
    {"namespace": contains_item(PLANS.c.namespaces), "statuses": one_of(PLAN_STATUS), "kinds": one_of(PLANS.c.kind)},
)


class PostgresPlans:
    """PlanReader."""

    def __init__(self, read: async_sessionmaker[AsyncSession]) -> None:
        self._read = read

    async def get(self, plan_id: str) -> RebalancePlan | None:
        rows = await fetch(self._read, _ONE_PLAN, {"plan_id": plan_id})
        return _plan_with_newest_change(rows[0]) if rows else None

    async def proposal(self, plan_id: str) -> Proposal | None:
        rows = await fetch(self._read, _DOCUMENT, {"plan_id": plan_id})
        return await stored_proposal(plan_id, rows[0][0]) if rows else None

    async def page(self, where: PlanFilter, page: PageRequest[int]) -> Page[RebalancePlan]:
        return await _PLANS.page(self._read, where, page, descending=True)


_LONG: Final = 100_000
"""Characters: from here on a document is read in a thread."""


async def stored_proposal(plan_id: str, document: str) -> Proposal:
    """The proposal in a plan's document, read in a thread where that would block the event loop for long.

    Raises PlanCorrupt for a document whose id is not the plan's: it is not what was reviewed.
    """
    if len(document) < _LONG:
        return _read(plan_id, document)
    return await asyncio.to_thread(_read, plan_id, document)


def _read(plan_id: str, document: str) -> Proposal:
    if document_id(document) != plan_id:
        raise PlanCorrupt(plan_id, f"its document is that of {document_id(document)}")
    try:
        return read_proposal(document)
    except (ValueError, KeyError, TypeError) as error:
        raise PlanCorrupt(plan_id, f"this version of the program cannot read it ({error})") from error
