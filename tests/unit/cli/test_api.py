"""Requests over HTTP to servers that are not what they should be."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from graph.cli.errors import ApiClient, Exit, Failure
from graph.client.address import Address, read_address
from graph.operations import operation


@contextmanager
def answering(status: int, body: bytes | None) -> Iterator[tuple[Address, list[dict[str, Any]]]]:
    """A server with one answer for everything, and the requests it got. Without a body it hangs up."""
    requests: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            if body is None:
                self.connection.close()
                return
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Not read."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield read_address(f"http://127.0.0.1:{server.server_port}"), requests
        finally:
            server.shutdown()
            thread.join()


def failure(status: int, body: bytes | None) -> Failure:
    """What the request fails with."""
    with answering(status, body) as (address, _), ApiClient(address) as api, pytest.raises(Failure) as failed:
        api.execute("StreamHead")
    return failed.value


def test_an_operation_is_sent_by_name_with_its_text_and_variables() -> None:
    with answering(200, b'{"data": {"shard": null}}') as (address, requests), ApiClient(address) as api:
        assert api.execute("ShardDetails", {"namespace": "orders", "shardId": "s1"}) == {"shard": None}
    assert requests == [
        {
            "query": operation("ShardDetails"),
            "operationName": "ShardDetails",
            "variables": {"namespace": "orders", "shardId": "s1"},
        }
    ]


def test_errors_are_read_whatever_the_status() -> None:
    body = b'{"errors": [{"message": "no such field", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]}'
    failed = failure(400, body)
    assert (failed.exit, failed.message) == (Exit.OTHER_VERSION, "no such field")
    assert "different versions" in failed.advice[0]


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_without_a_server_behind_it_may_be_asked_again(status: int) -> None:
    failed = failure(status, b"<html>Bad gateway</html>")
    assert failed.exit is Exit.UNAVAILABLE
    assert f"HTTP {status}" in failed.message
    assert failed.advice == ["It may be starting: try again."]


@pytest.mark.parametrize("body", [b"<html></html>", b"[]", b"{}", b"\xff", b""])
def test_a_server_of_something_else_is_recognised(body: bytes) -> None:
    failed = failure(200, body)
    assert failed.exit is Exit.UNAVAILABLE
    assert failed.advice == ["Is that address an OmniRelay server's? See --server."]


def test_an_answer_that_is_lost_leaves_a_question_open_only_for_a_change() -> None:
    assert failure(200, None).advice == ["Try again."]
    with answering(200, None) as (address, _), ApiClient(address) as api, pytest.raises(Failure) as failed:
        api.change("UpdateShard", {})
    assert failed.value.exit is Exit.UNAVAILABLE
    assert failed.value.advice == ["Whether the change was made is not known: look before you try again."]
