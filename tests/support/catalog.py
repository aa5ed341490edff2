# ruff: noqa: S608 - the queries are put together from a constant
"""All that PostgreSQL's catalog has of the schema `public`, in a form that do not depend on object ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import asyncpg

_OURS: Final = "relnamespace = 'public'::regnamespace"
# Columns by their rank: a dump does not have the numbers of columns that were dropped. Triggers without brackets:
# read again, an AND within an AND becomes one.
_QUERIES: Final[Mapping[str, str]] = {
    "relations": f"""
        SELECT relname, relkind::text, relpersistence::text, relispartition, reloptions, relreplident::text,
            pg_get_expr(relpartbound, oid), pg_get_partkeydef(oid), obj_description(oid, 'pg_class'), relacl::text
        FROM pg_class WHERE {_OURS}
    """,
    "columns": f"""
        SELECT c.relname, a.attname, rank() OVER (PARTITION BY c.oid ORDER BY a.attnum),
            format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attcollation::regcollation::text,
            pg_get_expr(d.adbin, d.adrelid), a.attgenerated::text, a.attidentity::text
        FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE {_OURS} AND c.relkind IN ('r', 'p', 'v', 'c') AND a.attnum > 0 AND NOT a.attisdropped
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype::text, pg_get_constraintdef(oid), convalidated, condeferrable,
            conparentid <> 0
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    """,
    "indexes": f"""
        SELECT c.relname, pg_get_indexdef(c.oid), i.indisvalid, i.indisreplident, p.inhparent::regclass::text
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid LEFT JOIN pg_inherits AS p ON p.inhrelid = c.oid
        WHERE {_OURS}
    """,
    "triggers": f"""
        SELECT c.relname, t.tgname, translate(pg_get_triggerdef(t.oid), '()', ''), t.tgenabled::text
        FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid WHERE {_OURS} AND NOT t.tgisinternal
    """,
    "functions": """
        SELECT proname, pg_get_function_identity_arguments(oid), pg_get_functiondef(oid), proacl::text,
            obj_description(oid, 'pg_proc')
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    """,
    "types": f"""
        SELECT typname, typtype::text, format_type(typbasetype, typtypmod), typnotnull
        FROM pg_type WHERE typnamespace = 'public'::regnamespace
        AND typrelid NOT IN (SELECT oid FROM pg_class WHERE {_OURS} AND relkind IN ('r', 'p'))
        AND typelem NOT IN (SELECT reltype FROM pg_class WHERE {_OURS} AND relkind IN ('r', 'p'))
    """,
    "extensions": "SELECT extname, extversion FROM pg_extension",
}


async def catalog_of(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Everything there is of each kind, in order."""
    connection = await asyncpg.connect(url)
    try:
        return {
            kind: sorted((tuple(row) for row in await connection.fetch(query)), key=repr)
            for kind, query in _QUERIES.items()
        }
    finally:
        await connection.close()
