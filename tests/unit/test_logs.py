"""Lines of the log: their two forms, what is never in them, and that no text can forge one."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from graph.logs import Format, escaped, line_handler, log, without_secrets

NAME = "graph.tests"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"  # noqa: S105 - none that opens anything


class Lines:
    def __init__(self, form: Format) -> None:
        self._stream = io.StringIO()
        self.handler = line_handler(form, self._stream)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture(params=["text", "json"])
def lines(request: pytest.FixtureRequest) -> Iterator[Lines]:
    """Of every logger, at every level."""
    written = Lines(request.param)
    root, before = logging.getLogger(), logging.getLogger().level
    root.addHandler(written.handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.setLevel(before)
    root.removeHandler(written.handler)


def log_failure(message: str) -> None:
    def fail() -> None:
        raise ValueError(message)

    try:
        fail()
    except ValueError:
        logging.getLogger(NAME).exception("failed")


in_text = pytest.mark.parametrize("lines", ["text"], indirect=True)
in_json = pytest.mark.parametrize("lines", ["json"], indirect=True)


@in_text
def test_fields_follow_the_message_as_words(lines: Lines) -> None:
    fields = {"id": 7, "actor": "alice b", "rules": ["PIN", "FREEZE"], "seconds": 0.25, "forced": True, "ticket": None}
    log(logging.getLogger(NAME), logging.INFO, "change", fields)
    assert lines.text.endswith(
        ' INFO graph.tests: change id=7 actor="alice b" rules=PIN,FREEZE seconds=0.25 forced=true\n'
    )


@in_json
def test_fields_are_members_of_the_object(lines: Lines) -> None:
    log(logging.getLogger(NAME), logging.INFO, "change", {"id": 7, "rules": ["PIN"], "ticket": None})
    (document,) = lines.documents
    time = document.pop("time")
    assert time.endswith("Z")
    assert document == {"level": "info", "logger": NAME, "message": "change", "id": 7, "rules": ["PIN"]}


def test_no_text_can_add_a_line_or_turn_one_around(lines: Lines) -> None:
    hostile = "why\nERROR graph: forged\r\x1b[2K \u202egnirts\u2066 \u200b \x85 \u2028"
    log(logging.getLogger(NAME), logging.INFO, f"message {hostile}", {"reason": hostile})
    assert lines.text.count("\n") == 1
    assert lines.text.isprintable() or lines.text[:-1].isprintable()


@in_text
def test_the_lines_of_a_traceback_are_indented(lines: Lines) -> None:
    log_failure("first\n2026-01-01 00:00:00,000 ERROR graph: forged \u202e")
    first, *others = lines.text.splitlines()
    assert first.endswith("ERROR graph.tests: failed")
    assert all(line.startswith("  ") for line in others)
    assert "\u202e" not in lines.text


@in_json
def test_a_traceback_is_a_member(lines: Lines) -> None:
    log_failure("why")
    (document,) = lines.documents
    assert document["exception"].endswith("ValueError: why")


def test_libraries_are_heard_from_warnings_on_whatever_their_level(lines: Lines) -> None:
    library = logging.getLogger("websockets.server")
    library.setLevel(logging.DEBUG)
    library.debug("< TEXT 'ken-cut-in-half' [64 bytes]")
    library.info("connection open")
    library.warning("worth a line")
    assert lines.text.count("\n") == 1
    assert "worth a line" in lines.text


def test_work_that_is_abandoned_with_its_client_is_no_warning() -> None:
    """Other work that is forgotten is one, of a process that logs as a server does."""
    program = """
from graph.logs import log_to_stderr
async def get_results(): ...
async def forgotten(): ...
log_to_stderr("info", "text")
get_results()
forgotten()
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert "'forgotten' was never awaited" in ran.stderr
    assert "get_results" not in ran.stderr


@pytest.mark.parametrize(
    "text",
    [
        f"authorization: Bearer {TOKEN}",
        f'{{"authorization":"Bearer {TOKEN}"}}',
        f'{{\\"Authorization\\": \\"bearer {TOKEN}\\"}}',
        f"b'Bearer {TOKEN}'",
        f"Bearer%20{TOKEN}",
        f"GET /graphql?access_token={TOKEN}&query=%7Bhead%7D",
        f"token={TOKEN}",
        f"Invalid token {TOKEN} was given",
        TOKEN,
    ],
)
def test_what_looks_like_a_token_is_hidden(text: str) -> None:
    hidden = without_secrets(text)
    assert "[hidden]" in hidden
    assert not any(part in hidden for part in TOKEN.split("."))


@pytest.mark.parametrize(
    "text",
    [
        "cannot connect to postgresql://mesh:hush@db:5432/mesh?sslmode=require",
        "invalid DSN: host=db password=hush user=mesh",
        "postgresql://db/mesh?password=hush&user=mesh",
        "{'password': 'hush'}",
        "postgresql://mesh:hu@hush@db/mesh",
    ],
)
def test_what_looks_like_a_password_is_hidden(text: str) -> None:
    assert "hush" not in without_secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        "the token has expired",
        "this server requires a token (Authorization: Bearer ...)",
        "auth_secret_file: /run/keys/secret: No such file or directory",
        "request 4b1d failed",
        "http://127.0.0.1:8080/graphql",
        "key=value",
    ],
)
def test_what_says_nothing_secret_stays_readable(text: str) -> None:
    hidden = without_secrets(text)
    assert hidden.replace("[hidden]", "...") == text


def test_what_is_printable_is_not_touched() -> None:
    assert escaped("Jürgen, 東京") == "Jürgen, 東京"
    assert escaped("a\tb\u202ec") == "a\\tb\\u202ec"


def test_an_error_of_a_secret_is_hidden_in_its_traceback(lines: Lines) -> None:
    log_failure(f"cannot read 'Bearer {TOKEN}'")
    assert "c2lnbmF0dXJl" not in lines.text
    assert "[hidden]" in lines.text


def test_half_a_character_is_escaped() -> None:
    """Not through the logger: what pytest captures of it is sent to another process, which takes no such text."""
    assert escaped("a \udc00 b") == r"a \udc00 b"
