"""Storing and reading refusals."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ARRAY, BigInteger, ColumnElement, LargeBinary, String, bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from persistence.commands.refusals import RefusalWrite
from persistence.model.paging import Page, PageRequest
from persistence.model.queries import RefusalFilter
from persistence.model.records import Refusal
from persistence.postgres.engine import translated
from persistence.postgres.readers.keyset import below, contains_item, each, equals_text
from persistence.postgres.readers.paged_list import PagedList
from persistence.postgres.rows import REFUSAL, refusal_of
from persistence.postgres.stream import schema_outdated
from persistence.postgres.tables.current import SCHEMA_REVISION
from persistence.postgres.tables.history import REFUSALS

_COLUMNS: Final = ", ".join(column.name for column in REFUSAL)

# In SQL, because it must be one round trip: the head is never locked while a message is on its way. As in migration
# 0008 the clock is read once the head is locked, time never goes back, only programs that the schema serves write, and
# sha256(...) repeats hash_chain.refusal_hash byte for byte.
_SQL: Final = f"""
WITH locked AS MATERIALIZED (
    SELECT r.id FROM refusal_head AS r JOIN stream_head AS s ON s.id = r.id
    WHERE r.id = 1 AND :program = ANY (s.compatible_revisions) FOR UPDATE OF r
), clock AS MATERIALIZED (
    SELECT id, clock_timestamp() AS now FROM locked
), head AS (
    UPDATE refusal_head AS h SET
        refusal_id = h.refusal_id + 1,
        refused_at = greatest(h.refused_at, clock.now),
        hash = sha256(
            int4send(32) || h.hash
            || int4send(8) || int8send(h.refusal_id + 1)
            || int4send(8) || int8send((extract(epoch FROM greatest(h.refused_at, clock.now)) * 1000000)::int8)
            || int4send(32) || CAST(:content_digest AS bytea)
        )
    FROM clock
    WHERE h.id = clock.id
    RETURNING h.refusal_id, h.refused_at, h.hash
)
INSERT INTO refusals (id, kind, actor, reason, change_ticket, namespaces, outcome, request_digest, request, details,
    left_out, refused_at, content_digest, hash)
SELECT head.refusal_id, :kind, :actor, :reason, :ticket, CAST(:namespaces AS text[]), :outcome, :request_digest,
    CAST(:request AS json), CAST(:details AS json), :left_out, head.refused_at, :content_digest, head.hash
FROM head
RETURNING {_COLUMNS}
"""  # noqa: S608 - the interpolated part is the constant above

_TYPES: Final[dict[str, Any]] = {
    **dict.fromkeys(("program", "kind", "actor", "reason", "ticket", "outcome", "request", "details"), String()),
    **dict.fromkeys(("request_digest", "content_digest"), LargeBinary()),
    "namespaces": ARRAY(String()),
    "left_out": BigInteger(),
}

_APPEND: Final = (
    text(_SQL).bindparams(*(bindparam(name, type_=type_) for name, type_ in _TYPES.items())).columns(*REFUSAL)
)


_OTHER: Final = REFUSALS.alias("other").c


def _id_before(name: str) -> ColumnElement[int]:
    """The newest refusal before a time, 0 if there was none: times do not decrease from refusal to refusal."""
    newest = (
        select(_OTHER.id)
        .where(below(_OTHER.refused_at)(name))
        .order_by(_OTHER.refused_at.desc(), _OTHER.id.desc())
        .limit(1)
    )
    return func.coalesce(newest.scalar_subquery(), 0)


_REFUSALS: Final = PagedList(
    select(*REFUSAL),
    REFUSALS,
    REFUSALS.c.id,
    each(refusal_of),
    {
        "namespace": contains_item(REFUSALS.c.namespaces),
        "actor": equals_text(REFUSALS.c.actor),
        "change_ticket": equals_text(REFUSALS.c.change_ticket),
        "since": lambda name: REFUSALS.c.id > _id_before(name),
        "until": lambda name: REFUSALS.c.id <= _id_before(name),
    },
    leads=("change_ticket", "actor", "namespace"),
    bounds=("since", "until"),
    unordered=("namespace",),
)


class PostgresRefusals:
    """Refusals. Each is stored by one statement that commits by itself, so that their head is never locked while this
    process computes."""

    def __init__(self, read: async_sessionmaker[AsyncSession], write: async_sessionmaker[AsyncSession]) -> None:
        self._read = read
        self._write = write

    async def append(self, refusal: RefusalWrite) -> Refusal:
        """Raises SchemaOutOfDate if the schema does not serve this program any more; then nothing was written."""
        values = {
            "program": SCHEMA_REVISION,
            "kind": str(refusal.kind),
            "actor": refusal.actor,
            "reason": refusal.reason,
            "ticket": refusal.change_ticket,
            "namespaces": list(refusal.namespaces),
            "outcome": refusal.outcome,
            "request_digest": refusal.request_digest,
            "request": refusal.request,
            "details": refusal.details,
            "left_out": refusal.left_out,
            "content_digest": refusal.content_digest,
        }
        with translated():
            async with self._write() as session:
                row = (await session.execute(_APPEND, values)).one_or_none()
        if row is None:
            raise schema_outdated()
        return refusal_of(row)

    async def page(self, where: RefusalFilter, page: PageRequest[int], *, newest_first: bool) -> Page[Refusal]:
        return await _REFUSALS.page(self._read, where, page, descending=newest_first)
