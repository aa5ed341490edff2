"""docs/authorisation.md has a table of what each scope allows: every cell is tried against a running server."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from graphql import OperationType
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from graph.auth.principal import Scope
from graph.cli.errors import Exit
from graph.schema.build import build_schema
from persistence.codec import cursors
from persistence.commands.nodes import RegisterNode
from persistence.model.outcomes import PlanProposed
from persistence.model.records import NO_CHANGE, StreamPosition
from persistence.service.rebalancer import PlanRequest, Rebalancer
from strategies.registry import Registry
from tests.support.command_line import omnirelay
from tests.support.mesh import Mesh, because, new
from tests.support.mesh_server import MeshServer
from tests.support.operations_by_schema import operation_on
from tests.support.secret_file import write_secret
from tests.support.tokens import shared_secret, token

PAGE: Final = (Path(__file__).parents[2] / "docs" / "authorisation.md").read_text(encoding="utf-8")
SCHEMA: Final = build_schema().core
YES, FORBIDDEN, UNAUTHENTICATED = "yes", "FORBIDDEN", "UNAUTHENTICATED"

# Title of a column -> the token that is shown.
COLUMNS: Final[Mapping[str, str | None]] = {
    "no token": None,
    "no scope": token(),
    **{f"`{scope}`": token(scope) for scope in Scope},
}
each_column = pytest.mark.parametrize("column", COLUMNS)


@dataclass(frozen=True)
class Row:
    field: str
    over: frozenset[str]
    command: str | None
    cells: Mapping[str, str]

    @property
    def name(self) -> str:
        """A field of queries may have the name of one of subscriptions."""
        return f"{self.kind.value} {self.field}"

    @property
    def kind(self) -> OperationType:
        if "HTTP" not in self.over:
            return OperationType.SUBSCRIPTION
        kinds = (kind for kind in OperationType if self.field in fields_of(kind))
        return next(kinds, OperationType.QUERY)

    @property
    def request(self) -> dict[str, Any]:
        document, variables = operation_on(SCHEMA, self.kind, self.field)
        return {"query": document, "variables": variables}


def fields_of(kind: OperationType) -> set[str]:
    root = SCHEMA.get_root_type(kind)
    return set(root.fields) if root is not None else set()


def table() -> list[Row]:
    (head,) = re.findall(r"^\| field \| over \| command \| (.+) \|$", PAGE, re.MULTILINE)
    titles = head.split(" | ")
    assert titles == list(COLUMNS)
    rows = []
    for line in re.findall(r"^\| (`\w+` \| [^|]*(?:HTTP|SSE)\b.*) \|$", PAGE, re.MULTILINE):
        field, over, command, *cells = line.split(" | ")
        rows.append(
            Row(
                field.strip("`"),
                frozenset(over.split(", ")),
                None if command == "-" else command.strip("`"),
                dict(zip(titles, cells, strict=True)),
            )
        )
    return rows


ROWS: Final = table()


def expected(column: str, rows: list[Row]) -> dict[str, str]:
    return {row.name: row.cells[column] for row in rows}


def over(transport: str) -> list[Row]:
    return [row for row in ROWS if transport in row.over]


def verdict(answer: Mapping[str, Any]) -> str:
    """Of a GraphQL response to an operation that was well-formed."""
    codes = {(error.get("extensions") or {}).get("code") for error in answer.get("errors") or ()}
    assert not codes & {"GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED", "BAD_USER_INPUT"}, answer
    return next((refusal for refusal in (FORBIDDEN, UNAUTHENTICATED) if refusal in codes), YES)


@pytest.fixture(scope="module")
def server() -> Iterator[MeshServer]:
    """With nothing in it: whatever is not forbidden finds that out."""
    with MeshServer(shared_secret()) as server:
        yield server


def headers(column: str) -> dict[str, str]:
    shown = COLUMNS[column]
    return {} if shown is None else {"authorization": f"Bearer {shown}"}


def test_the_table_has_every_field_and_no_other() -> None:
    fields = {f"{kind.value} {field}" for kind in OperationType for field in fields_of(kind)}
    assert sorted(row.name for row in ROWS) == sorted(fields | {"query __schema"})
    for row in ROWS:
        transports = {"WebSocket", "SSE"} if row.kind is OperationType.SUBSCRIPTION else {"HTTP", "WebSocket", "SSE"}
        assert row.over == transports, row.field
        assert set(row.cells.values()) <= {YES, FORBIDDEN, UNAUTHENTICATED}


@each_column
def test_over_http(server: MeshServer, column: str) -> None:
    found = {}
    with httpx2.Client(headers=headers(column) | {"accept": "application/graphql-response+json"}) as http:
        for row in over("HTTP"):
            response = http.post(f"{server.url}/graphql", json=row.request)
            found[row.name] = verdict(response.json())
            statuses = {UNAUTHENTICATED: 401, FORBIDDEN: 403}
            assert response.status_code == statuses.get(found[row.name], 200)
    assert found == expected(column, over("HTTP"))


@each_column
def test_over_server_sent_events(server: MeshServer, column: str) -> None:
    found = {}
    with httpx2.Client(headers=headers(column) | {"accept": "text/event-stream"}) as http:
        for row in over("SSE"):
            with http.stream("POST", f"{server.url}/graphql", json=row.request) as response:
                found[row.name] = verdict(first_result(response))
    assert found == expected(column, over("SSE"))


def first_result(response: httpx2.Response) -> Any:
    if response.status_code == httpx2.codes.UNAUTHORIZED:
        return json.loads(response.read())
    results = (line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: {"))
    return json.loads(next(results))


@each_column
def test_over_a_websocket(server: MeshServer, column: str) -> None:
    protocols = [Subprotocol("graphql-transport-ws")]
    with connect(server.url.replace("http", "ws") + "/graphql", subprotocols=protocols) as socket:
        socket.send(json.dumps({"type": "connection_init", "payload": headers(column)}))
        if column == "no token":
            with pytest.raises(ConnectionClosed, match="4401"):
                socket.recv(10)
            found = {row.name: UNAUTHENTICATED for row in over("WebSocket")}
        else:
            assert json.loads(socket.recv(10)) == {"type": "connection_ack"}
            found = {row.name: said_of(row, socket) for row in over("WebSocket")}
    assert found == expected(column, over("WebSocket"))


def said_of(row: Row, socket: ClientConnection) -> str:
    socket.send(json.dumps({"id": row.name, "type": "subscribe", "payload": row.request}))
    while (message := json.loads(socket.recv(10)))["id"] != row.name:
        pass
    return verdict({"errors": message["payload"]} if message["type"] == "error" else message["payload"])


@each_column
def test_by_the_command_line(column: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What must be refused goes first, while there still is something to do for the commands that write."""
    (tmp_path / "new.csv").write_text("namespace,shardId,ownerNodeId\norders,s9,node-1\n")
    (tmp_path / "changed.csv").write_text("namespace,shardId,ownerNodeId\norders,s2,node-2\n")
    (tmp_path / "mesh.toml").write_text('[namespaces.fresh]\nstrategy = "ring"\n')
    monkeypatch.chdir(tmp_path)
    shown = COLUMNS[column]
    if shown is not None:
        write_secret(tmp_path / "token", f"{shown}\n")
        monkeypatch.setenv("OMNIRELAY_TOKEN_FILE", str(tmp_path / "token"))
    rows = sorted((row for row in ROWS if row.command), key=lambda row: row.cells[column] == YES)
    found = {}
    with MeshServer(shared_secret()) as server:
        monkeypatch.setenv("OMNIRELAY_SERVER", server.url)
        names = server.run(mesh_to_command(server.mesh))
        for row in rows:
            answer = omnirelay(*(names.get(word, word) for word in shlex.split(str(row.command))))
            assert answer.exit not in (Exit.INVALID, Exit.INTERNAL), (row.command, answer)
            found[row.name] = YES
            if answer.exit == Exit.DENIED:
                found[row.name] = UNAUTHENTICATED if "this server requires a token" in answer.err else FORBIDDEN
    assert found == expected(column, rows)


async def mesh_to_command(mesh: Mesh) -> dict[str, str]:
    """Something for every command to be about; what the placeholders of the table stand for."""
    for node_id in ("node-1", "node-2"):
        await mesh.execute(RegisterNode(node_id, because("more room")))
    await mesh.configure("orders")
    await mesh.create(*(new(f"s{number}", "gone", namespace="orders") for number in (1, 2, 3)))
    rebalancer = Rebalancer(mesh.store, mesh.writer, Registry())
    planned = await rebalancer.plan(PlanRequest(None), because("vacate"))
    assert isinstance(planned, PlanProposed)
    head = await mesh.store.stream.head()
    return {"PLAN": planned.plan.id, "CURSOR": cursors.STREAM.write(StreamPosition(head.epoch, 0, NO_CHANGE))}
