"""Refusals, in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from operator import attrgetter

from persistence import audit
from persistence.memory.paging import page_by
from persistence.memory.tables import Memory
from persistence.paging import Page, PageRequest
from persistence.queries import RefusalFilter
from persistence.records import Refusal
from persistence.refusals import RefusalWrite


class MemoryRefusals:
    """Refusals."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def append(self, refusal: RefusalWrite) -> Refusal:
        # Nothing is awaited in here, so nothing is kept in between: no lock, and no waiting for who writes.
        tables = self._memory.tables
        last = tables.refusals[-1] if tables.refusals else None
        refused_at = self._memory.clock() if last is None else max(self._memory.clock(), last.refused_at)
        number = len(tables.refusals) + 1
        link = audit.refusal_hash(
            bytes.fromhex(last.hash) if last else audit.GENESIS, number, refused_at, refusal.content_digest
        )
        kept = Refusal(
            number,
            refusal.kind,
            refusal.actor,
            refusal.reason,
            refusal.change_ticket,
            refusal.namespaces,
            refusal.outcome,
            json.loads(refusal.request),
            json.loads(refusal.details),
            refusal.left_out,
            refused_at,
            link.hex(),
        )
        self._memory.tables = replace(tables, refusals=(*tables.refusals, kept))
        return kept

    async def page(self, where: RefusalFilter, page: PageRequest[int], *, newest_first: bool) -> Page[Refusal]:
        refusals = [refusal for refusal in self._memory.tables.refusals if _is_in(where, refusal)]
        return page_by(attrgetter("id"), refusals, page, descending=newest_first)


def _is_in(where: RefusalFilter, refusal: Refusal) -> bool:
    return (
        (where.namespace is None or where.namespace in refusal.namespaces)
        and (where.actor is None or refusal.actor == where.actor)
        and (where.change_ticket is None or refusal.change_ticket == where.change_ticket)
        and (where.since is None or refusal.refused_at >= where.since)
        and (where.until is None or refusal.refused_at < where.until)
    )
