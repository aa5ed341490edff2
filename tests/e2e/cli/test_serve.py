"""serve and db, each in a process of its own, on PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx2
import pytest

from graph.auth.principal import Scope
from graph.cli.errors import Exit
from graph.operations import MANIFEST_FORMAT, operation, own_manifest
from persistence.model.paging import COUNTED_AT_MOST
from tests.support.command_line import Running, interpreted, omnirelay, started
from tests.support.secret_file import write_secret
from tests.support.tokens import SECRET, token

SLOTS: Final = 16_384
NODES: Final = 6
BY_WHOM: Final = """{
    shardHistory(filter: {namespace: "redis", actor: "migration", changeTicket: "CHG-9"}) {
        totalCount totalCountIsExact
    }
    changes(filter: {namespace: "redis"}) { nodes { reason } }
}"""


@contextmanager
def serving(
    database_url: str, port: int = 0, run: Callable[..., AbstractContextManager[Running]] = started
) -> Iterator[tuple[Running, str]]:
    """The process of a server, and its address."""
    with run("serve", "--port", port, "--database-url", database_url) as server:
        address = re.fullmatch(r"GraphiQL +(http://127\.0\.0\.1:\d+)/graphql", server.line())
        assert address
        yield server, address[1]


def test_a_server_says_where_it_is_and_stops_cleanly_on_sigterm(database_url: str) -> None:
    with serving(database_url, run=interpreted) as (server, url):
        assert httpx2.get(f"{url}/readyz").json()["status"] == "ok"
        assert "server" not in httpx2.get(f"{url}/healthz").headers
        page = httpx2.get(f"{url}/graphql", headers={"accept": "text/html"})
        assert page.headers["content-type"].startswith("text/html")
        server.send(signal.SIGTERM)
        end = server.finish()
    assert end.exit == Exit.OK
    assert re.search(r"^\[ *[\d.]+ s\] Stopped$", end.err, re.MULTILINE)
    assert "Traceback" not in end.err


def test_with_a_secret_a_server_listens_anywhere_and_asks_for_tokens(database_url: str, tmp_path: Path) -> None:
    environment = {"OMNIRELAY_AUTH_SECRET_FILE": str(tmp_path / "secret")}
    write_secret(tmp_path / "secret", SECRET)
    options = ("--host", "0.0.0.0", "--port", 0, "--no-demo", "--database-url", database_url)  # noqa: S104 - meant
    with started("serve", *options, environment=environment) as server:
        url = server.line().split()[1].removesuffix("/graphql").replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - same
        assert omnirelay("mesh", "nodes", "list", "--server", url).exit == Exit.DENIED
        write_secret(tmp_path / "token", token(Scope.READ))
        shown = ("--token-file", tmp_path / "token", "--server", url)
        assert omnirelay("mesh", "nodes", "list", *shown).exit == Exit.OK


def test_a_stopping_server_tells_subscribers_to_come_back(database_url: str) -> None:
    with (
        serving(database_url, run=interpreted) as (server, url),
        interpreted("mesh", "shards", "watch", "--server", url) as watch,
    ):
        watch.message_with("Watching")
        server.send(signal.SIGINT)
        assert "(1012)" in watch.message_with("Interrupted")
        assert server.finish().exit == Exit.OK


def test_sighup_stops_no_server(database_url: str) -> None:
    with serving(database_url) as (server, url):
        server.send(signal.SIGHUP)
        server.message_with("SIGHUP restarts workers")
        assert httpx2.get(f"{url}/readyz").json()["status"] == "ok"


def test_a_server_whose_terminal_is_closed_stops_cleanly(database_url: str) -> None:
    master, terminal = os.openpty()
    on_terminal = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from graph.cli import main; main()"
    with subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", on_terminal, "serve", "--port", "0", "--no-demo", "--database-url", database_url],
        env={**os.environ, "OMNIRELAY_PLAN_PROCESSES": "0"},
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as process:
        try:
            os.close(terminal)
            assert process.stdout is not None
            assert process.stdout.readline().startswith("GraphiQL")
            os.close(master)
            _, err = process.communicate()
        finally:
            process.kill()
    assert process.returncode == Exit.OK
    assert re.search(r"^\[ *[\d.]+ s\] Stopped$", err, re.MULTILINE)


def test_a_watch_outlives_the_server_on_the_same_database(database_url: str) -> None:
    def create(shard_id: str, url: str) -> None:
        row = f"namespace,shardId,ownerNodeId\norders,{shard_id},node-1\n"
        arguments = ("-", "--format", "csv", "--create-namespace", "ring", "--reason", "new", "--server", url)
        assert omnirelay("mesh", "shards", "import", *arguments, stdin=row.encode()).exit == Exit.OK

    with serving(database_url) as (first, url):
        port = int(url.rpartition(":")[2])
        with started("mesh", "shards", "watch", "--json", "--limit", 3, "--server", url) as watch:
            watch.message_with("Watching")
            create("s1", url)
            seen = [watch.line()]
            first.send(signal.SIGKILL)
            first.finish()
            watch.message_with("Interrupted")
            with serving(database_url, port):
                create("s2", url)
                seen.append(watch.line())
                create("s3", url)
                seen.append(watch.line())
                assert watch.finish().out == ""
    assert [re.findall(r'"shardId":"(s\d)"', line)[0] for line in seen] == ["s1", "s2", "s3"]


def test_the_slots_of_a_redis_cluster_come_back_as_they_went_in(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "slots.csv"
    rows = [f"redis,slot-{slot:05},redis-{slot * NODES // SLOTS + 1},,1.0,,ACTIVE," for slot in range(SLOTS)]
    table = "\n".join(
        ["namespace,shardId,ownerNodeId,leaderId,capacityHint,localityHint,status,antiAffinityGroup", *rows, ""]
    )
    file.write_text(table)
    with serving(database_url) as (_, url):
        answer = omnirelay(
            "mesh", "shards", "import", file, "--create-namespace", "rendezvous", "--server", url,
            "--actor", "migration", "--reason", "take over the slots", "--ticket", "CHG-9",
        )  # fmt: skip
        assert answer.exit == Exit.OK, answer.err
        assert answer.out == f"16,384 rows of {file}: 16,384 created, 0 updated, 0 equal already, in 9 changes.\n"
        assert omnirelay("mesh", "shards", "export", "--server", url).out == table
        found = httpx2.post(f"{url}/graphql", json={"query": BY_WHOM}).json()["data"]
        assert found["shardHistory"] == {"totalCount": COUNTED_AT_MOST, "totalCountIsExact": False}
        assert {change["reason"] for change in found["changes"]["nodes"]} == {"take over the slots"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--database-url", "postgresql://nobody@127.0.0.1:1/none"], "the database cannot be reached"),
        (["--database-url", "mysql://db"], "database_url (command line): must begin with postgresql://"),
        (["--host", "0.0.0.0"], "authentication is not configured"),  # noqa: S104 - what must be refused
        (["--config", "no-such-file.toml"], "no-such-file.toml: No such file or directory"),
        (["--data-dir", "pyproject.toml/below"], "PostgreSQL cannot be kept in "),
    ],
)
def test_a_server_that_cannot_start_prints_why_and_no_traceback(options: list[str], words: str) -> None:
    with started("serve", "--port", "0", *options) as server:
        end = server.finish()
    assert (end.exit, end.out) == (Exit.NO, "")
    assert words in end.err
    assert "Traceback" not in end.err


def test_where_trust_is_required_the_command_line_works_and_others_are_refused(database_url: str) -> None:
    options = ("--port", 0, "--database-url", database_url, "--demo", "--trusted-documents", "require")
    with started("serve", *options) as server:
        url = server.line().split()[1].removesuffix("/graphql")
        for command in (("shards", "list"), ("nodes", "list"), ("namespaces", "strategies"), ("shards", "diff", "0")):
            answer = omnirelay("mesh", *command, "--server", url)
            assert answer.exit == Exit.OK, answer.err
        refused = httpx2.post(f"{url}/graphql", json={"query": BY_WHOM}).json()
        assert [error["extensions"]["code"] for error in refused["errors"]] == ["DOCUMENT_NOT_TRUSTED"]


def test_an_answer_that_the_client_has_is_not_sent_again(database_url: str) -> None:
    identity = next(entry.id for entry in own_manifest() if entry.text == operation("ListShards"))
    with serving(database_url) as (_, url), httpx2.Client(base_url=url) as http:
        while "omnirelay_lookups_not_modified_total 0.0" in http.get("/metrics").text:  # until lookups are from memory
            first = http.get("/graphql", params={"documentId": identity})
            tag = {"if-none-match": first.headers["etag"]}
            again = http.get("/graphql", params={"documentId": identity}, headers=tag)
            assert (first.status_code, again.status_code, again.content) == (
                HTTPStatus.OK,
                HTTPStatus.NOT_MODIFIED,
                b"",
            )
        head = http.head("/graphql", params={"documentId": identity})
        assert (head.content, head.headers["etag"]) == (b"", first.headers["etag"])
        assert head.headers["content-length"] == first.headers["content-length"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (None, "web.json: No such file or directory"),
        ("{ shards { nothing } }", "web.json: operations[0] (Web): Cannot query field 'nothing' on type"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_named(
    database_url: str, tmp_path: Path, body: str | None, words: str
) -> None:
    file = tmp_path / "web.json"
    if body is not None:
        entry = {"id": "web-1", "name": "Web", "type": "query", "body": body}
        file.write_text(json.dumps({"format": MANIFEST_FORMAT, "version": 1, "operations": [entry]}))
    environment = {"OMNIRELAY_TRUSTED_DOCUMENTS_MANIFEST": str(file)}
    with started("serve", "--port", 0, "--database-url", database_url, environment=environment) as server:
        end = server.finish()
    assert (end.exit, end.out) == (Exit.NO, "")
    assert words in end.err
    assert "Traceback" not in end.err


def test_a_port_that_is_taken_is_said_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with started("serve", "--port", port, "--data-dir", tmp_path / "data") as server:
            end = server.finish()
    assert end.exit == Exit.NO
    assert end.err.startswith(f"Port {port} of 127.0.0.1 is taken by another program.\n")
    assert not (tmp_path / "data").exists()


def test_an_empty_database_is_refused_until_it_is_upgraded(empty_database_url: str) -> None:
    database = ("--database-url", empty_database_url)
    with started("serve", "--port", "0", *database) as server:
        end = server.finish()
    assert (end.exit, "run 'omnirelay db upgrade'" in end.err) == (Exit.NO, True)
    assert omnirelay("db", "check", *database).exit == Exit.NO
    assert omnirelay("db", "upgrade", *database).exit == Exit.OK
    assert omnirelay("db", "upgrade", *database).exit == Exit.OK
    assert omnirelay("db", "check", *database).exit == Exit.OK
    with serving(empty_database_url):
        pass


def test_db_commands_tell_a_database_that_is_away_from_a_schema_that_is_old() -> None:
    answer = omnirelay("db", "check", "--database-url", "postgresql://nobody@127.0.0.1:1/none")
    assert answer.exit == Exit.UNAVAILABLE
    assert answer.err.startswith("No database: the database cannot be reached")


def test_the_embedded_server_loads_the_demo_and_is_stopped_with_us(tmp_path: Path) -> None:
    with started("serve", "--port", "0", "--data-dir", tmp_path) as server:
        steps = [server.message_with(words) for words in ("Starting PostgreSQL", "schema", "demo mesh", "Ready")]
        assert all(re.match(r"\[ *\d+\.\d s\] ", step) for step in steps)
        url = server.line().split()[1].removesuffix("/graphql")
        assert len(omnirelay("mesh", "namespaces", "list", "--json", "--server", url).documents) == 3
        server.send(signal.SIGINT)
        end = server.finish()
    assert end.exit == Exit.OK
    assert end.err.splitlines()[-2].endswith("Stopping PostgreSQL")
    assert not (tmp_path / "postgres" / "cluster" / "postmaster.pid").exists()


def test_ctrl_c_while_postgresql_starts_leaves_none_behind(tmp_path: Path) -> None:
    with interpreted("serve", "--port", "0", "--data-dir", tmp_path) as server:
        server.message_with("Starting PostgreSQL")
        server.send(signal.SIGINT)
        end = server.finish()
    assert (end.exit, end.out) == (Exit.OK, "")
    assert not (tmp_path / "postgres" / "cluster" / "postmaster.pid").exists()


def test_the_schema_is_exported_and_checked(tmp_path: Path) -> None:
    file = tmp_path / "schema.graphql"
    assert omnirelay("schema", "export", "--output", file).exit == Exit.OK
    assert file.read_text() == omnirelay("schema", "export").out
    assert omnirelay("schema", "export", "--output", file, "--check").exit == Exit.OK
    file.write_text(file.read_text() + "# edited\n")
    answer = omnirelay("schema", "export", "--output", file, "--check")
    assert answer.exit == Exit.NO
    assert "-# edited" in answer.err
    assert omnirelay("schema", "export", "--check").exit == Exit.INVALID
