"""Which programs a schema serves: what each migration from 0008 on records, and each program compares with itself.

A program is named by the newest migration that it contains. The list is compared when a program starts, on each
connection that it opens, and at each commit (docs/decisions/0021-rolling-upgrades.md).
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import ARRAY, Text, bindparam, text

_RECORD = text("UPDATE stream_head SET compatible_revisions = :revisions").bindparams(
    bindparam("revisions", type_=ARRAY(Text))
)


def serves(*revisions: str) -> None:
    """Record that the schema serves the programs of these revisions, and from now on no others.

    `upgrade` names its own revision first. An additive migration, beside which programs of the release before go on
    reading and writing all that they know, names theirs too; any other names its own only. `downgrade` names what its
    predecessor's `upgrade` named.
    """
    op.get_bind().execute(_RECORD, {"revisions": list(revisions)})
