"""What a user, a file, a proxy or a server of another version does wrong is never called a defect of this program."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from websockets.sync.server import ServerConnection

from graph.cli.errors import Exit
from graph.cli.program import run
from tests.support.command_line import Answer, omnirelay
from tests.support.one_answer import answering_always, http
from tests.unit.client.test_subscription import say, served

DEEP = "[" * 100_000
HUGE = "9" * 6_000

ANSWERS = {
    "a gateway": http("<html><title>502 Bad Gateway</title></html>", "502 Bad Gateway", "content-type: text/html"),
    "a login page": http("<html><body>Sign in</body></html>", headers="content-type: text/html"),
    "a proxy": http("<h1>host not allowed</h1>", "403 Forbidden", "content-type: text/html"),
    "a proxy with a login": http("who are you", "407 Proxy Authentication Required", "content-type: text/plain"),
    "another host": http("no such host", "421 Misdirected Request", "content-type: text/plain"),
    "a redirect": http("", "301 Moved Permanently", "location: http://other.example/"),
    "a list": http("[]"),
    "null": http("null"),
    "no data": http('{"data": null}'),
    "empty data": http('{"data": {}}'),
    "data that is a number": http('{"data": 5}'),
    "no errors": http('{"errors": []}'),
    "errors that are text": http('{"errors": "busy"}'),
    "errors that are numbers": http('{"errors": [1]}'),
    "an error of another form": http('{"errors": [{"message": 5, "extensions": "x"}]}'),
    "null where a list is": http('{"data": {"nodes": null}}'),
    "an object without members": http('{"data": {"nodes": {}}}'),
    "another field": http('{"data": {"novel": 1}}'),
    "too deep": http(DEEP),
    "deep data": http(f'{{"data": {DEEP}'),
    "a huge integer": http(f'{{"data": {{"nodes": {HUGE}}}}}'),
    "not UTF-8": http(b'{"data": "\xff"}'),
    "not gzip": http(b"gzip", headers="content-encoding: gzip"),
    "half": http('{"data": {}}')[:-4],
    "nothing": b"",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
}


def fails_well(answer: Answer) -> None:
    assert answer.exit not in {Exit.OK, Exit.NO, Exit.INTERNAL}, answer
    assert "Traceback" not in answer.err
    assert answer.err.strip()


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_that_is_none_of_ours_is_told_as_that(answer: bytes) -> None:
    with answering_always(answer) as url:
        for command in ("nodes list", "shards watch --limit 1", "rebalance plan --reason r"):
            answered = omnirelay("mesh", *command.split(), "--server", url)
            fails_well(answered)
            assert answered.exit in {Exit.UNAVAILABLE, Exit.OTHER_VERSION}, (command, answered)


def test_a_proxy_that_rejects_the_host_is_told_with_its_words() -> None:
    with answering_always(ANSWERS["a proxy"]) as url:
        for command in ("nodes list", "shards watch"):
            answer = omnirelay("mesh", *command.split(), "--server", url)
            assert "HTTP 403, not with GraphQL (host not allowed)" in answer.err
            assert "A proxy in between may not let this host" in answer.err


def text(content: str | bytes) -> Callable[[ServerConnection], None]:
    return lambda socket: socket.send(content)


def event(payload: object) -> Callable[[ServerConnection], None]:
    return lambda socket: say(socket, type="next", id="1", payload=payload)


FRAMES = {
    "no JSON": text("hello"),
    "bytes": text(b"\xff\xfe"),
    "a list": text("[]"),
    "too deep": text(DEEP),
    "a huge integer": text(HUGE),
    "no payload": text('{"type": "next", "id": "1"}'),
    "no data": event({"data": None}),
    "another event": event({"data": {"shardDiffs": 5}}),
    "an event without members": event({"data": {"shardDiffs": {}}}),
    "a diff without members": event({"data": {"shardDiffs": {"cursor": "c", "revision": "1", "diffs": [{}]}}}),
    "an error of another form": text('{"type": "error", "id": "1", "payload": "busy"}'),
}


@pytest.mark.parametrize("send", FRAMES.values(), ids=FRAMES.keys())
def test_a_frame_that_is_none_of_ours_is_told_as_that(send: Callable[[ServerConnection], None]) -> None:
    def script(socket: ServerConnection) -> None:
        assert json.loads(socket.recv())["type"] == "connection_init"
        say(socket, type="connection_ack")
        socket.recv()
        send(socket)
        for _ in socket:
            pass

    with served(script) as address:
        answer = omnirelay("mesh", "shards", "watch", "--server", address.url)
    fails_well(answer)
    assert answer.exit == Exit.OTHER_VERSION, answer


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1",
        "http://h:99999",
        "http://a\x01b",
        "http://..",
        "http://a..b",
        f"http://{'a' * 64}.b",
        "http://h:-1",
    ],
)
def test_an_address_that_can_be_none_is_refused(url: str) -> None:
    for command in ("nodes list", "shards watch"):
        answer = omnirelay("mesh", *command.split(), "--server", url)
        fails_well(answer)
        assert answer.exit == Exit.INVALID, answer


@pytest.mark.parametrize("proxy", ["::::", "foo://x", "http://[::1"])
def test_a_proxy_that_can_be_none_is_named(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    for command in ("nodes list", "shards watch"):
        answer = omnirelay("mesh", *command.split(), "--server", "http://mesh.example:8080")
        fails_well(answer)
        assert answer.exit == Exit.UNAVAILABLE, answer


FILES = {
    "bytes": bytes(range(256)),
    "latin": "grüße".encode("latin-1"),
    "nothing": b"",
    "nul": b"\0" * 100,
    "deep": DEEP.encode(),
    "deep object": b'{"a":' * 50_000,
    "deep.toml": b"a = " + DEEP.encode(),
    "huge": HUGE.encode(),
    "huge member": f'{{"format": {HUGE}, "id": {HUGE}, "cursor": {HUGE}, "moves": {HUGE}}}'.encode(),
    "huge.toml": f"[namespaces.a]\nparameters = {{virtualNodes = {HUGE}}}".encode(),
    "null": b"null",
    "list": b"[]",
    "surrogate": b'{"a": "\\ud800"}',
    "row": f"namespace,shardId,ownerNodeId,capacityHint\na,b,c,{HUGE}\n".encode(),
}

READERS = (
    "mesh namespaces apply {} --reason r --dry-run",
    "mesh shards import {} --reason r --dry-run --format csv",
    "mesh shards import {} --reason r --dry-run --format jsonl",
    "mesh rebalance apply {} --reason r",
    "mesh rebalance show {}",
    "mesh audit verify --file {}",
    "mesh audit verify --since {} --data-dir missing",
    "mesh audit export --key-file {} --data-dir missing",
    "mesh nodes list --token-file {}",
    "mesh shards watch --cursor-file {}",
    "token issue --subject s --config {}",
    "schema export --check --output {}",
)


@pytest.mark.usefixtures("orders")
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A folder too, and one that is not there."""
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    for command in READERS:
        for name in (*FILES, "missing", "."):
            if command == "mesh shards watch --cursor-file {}" and name == "missing":
                continue  # that is how it begins
            arguments = [argument.format(tmp_path / name) for argument in command.split()]
            answer = omnirelay(*arguments)
            assert answer.exit != Exit.INTERNAL, (command, name, answer)
            assert answer.err.strip()
            assert "Traceback" not in answer.err, (command, name, answer)


@pytest.mark.parametrize("path", ["/nonexistent/file", "/proc/file", "/dev/full", "."])
def test_an_output_that_cannot_be_written_is_named(tmp_path: Path, path: str) -> None:
    answer = omnirelay("schema", "export", "--output", tmp_path / path)
    assert answer.exit == Exit.INVALID, answer
    assert "Traceback" not in answer.err


TYPED = (
    HUGE,
    f"-{HUGE}",
    "1e999",
    " ",
    "x" * 5_000,
    "\udcff",
    "\x00",
    "99999d",
    "0001-01-01T00:00:00+23:59",
    "{",
    DEEP,
)

TAKERS = (
    "mesh shards list --as-of {}",
    "mesh shards list --limit {} --owner {}",
    "mesh shards diff {}",
    "mesh shards history {} {}",
    "mesh shards history --since {} --ticket {}",
    "mesh shards get {} {}",
    "mesh shards set orders s1 --expected-version {} --owner n --reason r",
    "mesh shards set orders s1 --expected-version 1 --capacity {} --reason r",
    "mesh shards pin orders s1 --expected-version 1 --until {} --reason r",
    "mesh shards simulate --strategy ring --parameter virtualNodes={}",
    "mesh shards simulate --node n,weight={}",
    "mesh shards watch --after {}",
    "mesh nodes get {}",
    "mesh rebalance show {}",
    "mesh audit verify --anchor {} --data-dir missing",
    "db compact --before {} --reason r --data-dir missing",
    "token issue --subject {}",
)


@pytest.mark.usefixtures("orders")
@pytest.mark.parametrize("command", TAKERS)
def test_whatever_is_typed_is_no_defect(command: str) -> None:
    for typed in TYPED:
        answer = omnirelay(*(argument.replace("{}", typed) for argument in command.split()))
        assert answer.exit != Exit.INTERNAL, (typed[:40], answer)
        assert "Traceback" not in answer.err


def test_a_full_disk_is_named() -> None:
    with Path("/dev/full").open("w") as full, redirect_stdout(full):
        assert run(["schema", "export"]) == Exit.INVALID
