"""Refusals, in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from operator import attrgetter

from persistence.codec import hash_chain
from persistence.commands.refusals import RefusalWrite
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import RefusalFilter
from persistence.model.records import Refusal
from tests.reference.readers import page_by
from tests.reference.tables import Memory


class MemoryRefusals:
    """Refusals."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def append(self, refusal: RefusalWrite) -> Refusal:
        # Nothing is awaited in here, so nothing is stored in between: no lock, and no waiting for writers.
        tables = self._memory.tables
        last = tables.refusals[-1] if tables.refusals else None
        refused_at = self._memory.clock() if last is None else max(self._memory.clock(), last.refused_at)
        number = len(tables.refusals) + 1
        link = hash_chain.refusal_hash(
            bytes.fromhex(last.hash) if last else hash_chain.GENESIS, number, refused_at, refusal.content_digest
        )
        stored = Refusal(
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
        self._memory.tables = replace(tables, refusals=(*tables.refusals, stored))
        return stored

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
