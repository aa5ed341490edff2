"""`omnirelay db`: what is found, what is needed, and what is refused before anything is done."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

import migrations
from graph.cli.errors import Exit
from tests.support.command_line import Answer, omnirelay
from tests.support.real_server import real_server

NEWEST = migrations.newest()
# PostgreSQL looks up a function in the schemas of `search_path`, in their order: this one is found before its own.
PLAY_A_STANDBY = """
    CREATE FUNCTION public.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true';
    DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()); END $$
"""


def run(url: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
    async def running() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            if arguments:
                return list(await connection.fetch(statement, *arguments))
            return [await connection.execute(statement)]
        finally:
            await connection.close()

    return asyncio.run(running())


def db(command: str, url: str, *options: str) -> Answer:
    return omnirelay("db", command, "--database-url", url, *options)


def made_newer(url: str, *serves: str) -> str:
    """As by a program that is newer than this one, and whose schema serves these."""
    run(url, "UPDATE alembic_version SET version_num = '9999'")
    run(url, "UPDATE stream_head SET compatible_revisions = $1 RETURNING id", list(serves))
    return url


def epoch_of(url: str) -> object:
    ((epoch,),) = run(url, "SELECT epoch FROM stream_head WHERE id = $1", 1)
    return epoch


def test_check_says_what_is_found_what_is_needed_and_that_this_program_may_serve_it(database_url: str) -> None:
    answer = db("check", database_url)
    assert answer.exit == Exit.OK
    found, serves, program = answer.out.splitlines()
    assert found == f"Schema of the database: {NEWEST}"
    assert serves.startswith(f"Programs it serves:     {NEWEST}")
    assert program == f"This program:           {NEWEST}"
    assert answer.err == "This program may serve it.\n"


def test_check_of_a_newer_schema_that_serves_this_program_is_content(database_url: str) -> None:
    answer = db("check", made_newer(database_url, "9999", NEWEST), "--json")
    assert answer.exit == Exit.OK
    assert answer.document == {
        "found": "9999",
        "serves": ["9999", NEWEST],
        "needed": NEWEST,
        "inRecovery": False,
        "mayServe": True,
        "problem": None,
    }


def test_check_of_a_newer_schema_that_does_not_serve_this_program_says_to_update_the_program(database_url: str) -> None:
    answer = db("check", made_newer(database_url, "9999"))
    assert answer.exit == Exit.NO
    assert answer.out.splitlines()[:2] == ["Schema of the database: 9999", "Programs it serves:     9999"]
    assert answer.err == (
        "This program may not serve it: the database is at revision 9999, which is newer than this program "
        f"({NEWEST}), and serves programs of 9999; update this program.\n"
    )


def test_check_of_an_empty_database_says_so(empty_database_url: str) -> None:
    answer = db("check", empty_database_url, "--json")
    assert (answer.exit, answer.document["found"], answer.document["mayServe"]) == (Exit.NO, None, False)
    assert answer.err == "This program may not serve it: the database is empty; run 'omnirelay db upgrade'.\n"


def test_check_of_an_old_schema_says_to_upgrade_it(empty_database_url: str) -> None:
    asyncio.run(migrations.upgrade(empty_database_url, "0007"))
    answer = db("check", empty_database_url)
    assert answer.exit == Exit.NO
    assert answer.out.splitlines()[:2] == ["Schema of the database: 0007", "Programs it serves:     none"]
    assert answer.err == (
        f"This program may not serve it: the database is at revision 0007, {NEWEST} is needed; "
        "run 'omnirelay db upgrade'.\n"
    )


def test_check_of_a_standby_says_that_it_is_one(database_url: str) -> None:
    run(database_url, PLAY_A_STANDBY)
    answer = db("check", database_url, "--json")
    assert (answer.exit, answer.document["inRecovery"], answer.document["mayServe"]) == (Exit.NO, True, False)
    assert "the database is in recovery, so it is read-only: name the primary" in answer.err


def test_upgrade_leaves_a_newer_schema_that_serves_this_program_as_it_is(database_url: str) -> None:
    answer = db("upgrade", made_newer(database_url, "9999", NEWEST))
    assert answer.exit == Exit.OK
    assert answer.err == f"The schema is at revision 9999, newer than this program ({NEWEST}), which it serves.\n"


def test_upgrade_of_a_newer_schema_that_does_not_serve_this_program_is_refused(database_url: str) -> None:
    answer = db("upgrade", made_newer(database_url, "9999"))
    assert answer.exit == Exit.NO
    assert answer.err == (
        "The schema is not what this program needs: the database is at revision 9999, which is newer than this program "
        f"({NEWEST}), and serves programs of 9999; update this program.\n"
    )


def test_upgrade_of_a_standby_is_refused(database_url: str) -> None:
    run(database_url, PLAY_A_STANDBY)
    answer = db("upgrade", database_url)
    assert answer.exit == Exit.UNAVAILABLE
    assert answer.err.startswith("No database: the database is in recovery, so it is read-only: name the primary")


def test_upgrade_of_a_part_of_a_store_is_refused(database_url: str) -> None:
    run(database_url, "DELETE FROM alembic_version")
    answer = db("upgrade", database_url)
    assert answer.exit == Exit.NO
    assert answer.err.startswith(
        "The schema is not what this program needs: the database has a part of a store only (revision unknown"
    )
    assert "restore all of the dump, into an empty database" in answer.err


def test_a_new_epoch_is_begun_and_said(database_url: str) -> None:
    before = epoch_of(database_url)
    answer = db("new-epoch", database_url)
    assert answer.exit == Exit.OK
    assert answer.err == "The stream has a new epoch. Cursors from before are refused with EPOCH_MISMATCH.\n"
    assert epoch_of(database_url) != before


@pytest.mark.parametrize("damage", ["DELETE FROM stream_head", "DROP TABLE stream_head"])
def test_no_new_epoch_is_said_to_begin_where_there_is_no_stream(database_url: str, damage: str) -> None:
    run(database_url, damage)
    answer = db("new-epoch", database_url)
    assert (answer.exit, answer.out) == (Exit.NO, "")
    assert "the database has a part of a store only" in answer.err


def test_no_new_epoch_begins_in_an_empty_database(empty_database_url: str) -> None:
    answer = db("new-epoch", empty_database_url)
    assert answer.exit == Exit.NO
    assert answer.err.endswith("the database is empty; run 'omnirelay db upgrade'.\n")


def test_no_new_epoch_begins_in_a_schema_that_does_not_serve_this_program(database_url: str) -> None:
    before = epoch_of(database_url)
    answer = db("new-epoch", made_newer(database_url, "9999"))
    assert (answer.exit, "update this program" in answer.err) == (Exit.NO, True)
    assert epoch_of(database_url) == before


def test_no_new_epoch_begins_on_a_standby(database_url: str) -> None:
    before = epoch_of(database_url)
    run(database_url, PLAY_A_STANDBY)
    answer = db("new-epoch", database_url)
    assert (answer.exit, "the database is in recovery" in answer.err) == (Exit.UNAVAILABLE, True)
    assert epoch_of(database_url) == before


def test_a_new_epoch_under_a_running_server_says_what_it_may_have_told(database_url: str) -> None:
    with real_server(database_url):
        answer = db("new-epoch", database_url)
    assert answer.exit == Exit.OK
    assert "connections: what they answered since the folder was put in place may be wrong." in answer.err
