"""The audit log over HTTP: the file that `mesh audit export` writes, for tokens with the scope for it."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from graph.auth.principal import Scope
from graph.execution.services import Feed, Services
from graph.http.app import create_app
from graph.server.audit_export import ProcessExporter
from persistence.audit.export import ExportFilter
from persistence.audit.export_verification import verify_lines
from persistence.errors import StoreUnavailable
from tests.support.graphql_api import services_of
from tests.support.mesh import Mesh, because, new
from tests.support.reused_store import ReusedStores
from tests.support.serving import serving
from tests.support.tokens import shared_secret, soon, token

POSTGRES = pytest.mark.parametrize("backend", ["postgres"], indirect=True)
PATH = "/audit/export"


@pytest.fixture
def services(mesh: Mesh, feed: Feed) -> Services:
    return services_of(mesh.store, mesh.writer, feed)


@asynccontextmanager
async def client(services: Services, **options: Any) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        serving(create_app(services, **options)) as address,
        httpx2.AsyncClient(base_url=f"http://{address}", timeout=30) as http,
    ):
        yield http


class Scripted:
    """An exporter that gives chunks when it is let."""

    def __init__(self, *chunks: bytes | Exception) -> None:
        self.chunks: tuple[bytes | Exception, ...] = chunks
        self.gate = asyncio.Event()
        self.asked: list[tuple[ExportFilter, str]] = []
        self.ended = asyncio.Event()

    @asynccontextmanager
    async def __call__(self, where: ExportFilter, form: str) -> AsyncIterator[AsyncIterator[bytes]]:
        self.asked.append((where, form))
        try:
            yield self._given()
        finally:
            self.ended.set()

    async def _given(self) -> AsyncIterator[bytes]:
        for number, chunk in enumerate(self.chunks):
            if number:
                await self.gate.wait()
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk


class Silent(Scripted):
    """One that gives nothing until it has chunks."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()

    async def _given(self) -> AsyncIterator[bytes]:
        self.begun.set()
        if not self.chunks:
            await asyncio.Event().wait()
        async for chunk in super()._given():
            yield chunk


@POSTGRES
async def test_what_is_downloaded_is_what_is_exported_and_can_be_verified(
    backend: ReusedStores, services: Services, mesh: Mesh
) -> None:
    await mesh.create(new("1"), new("2"), change=because("more room", change_ticket="CHG-1"))
    services = replace(services, exporter=ProcessExporter(backend.url))
    async with client(services) as http:
        answer = await http.get(PATH)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/jsonl")
        assert answer.headers["content-disposition"].startswith('attachment; filename="audit-')
        types = [json.loads(line)["type"] for line in answer.text.splitlines()]
        assert types == ["header", "change", "change", "row", "row", "manifest"]
        assert verify_lines(answer.content.splitlines(keepends=True)).findings.listed == []
        of_ticket = await http.get(PATH, params={"format": "csv", "ticket": "CHG-1"})
        assert [row["entry"] for row in csv.DictReader(of_ticket.text.splitlines())] == ["change", "row", "row"]


@POSTGRES
async def test_a_database_that_is_not_there_is_unavailable(services: Services) -> None:
    services = replace(services, exporter=ProcessExporter("postgresql://nobody@127.0.0.1:1/none"))
    async with client(services) as http:
        answer = await http.get(PATH)
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (503, "UNAVAILABLE")


async def test_it_takes_a_token_with_the_scope_for_it(services: Services) -> None:
    services = replace(services, exporter=Scripted(b"x"))
    async with client(services, authentication=shared_secret()) as http:
        assert (await http.get(PATH)).status_code == 401
        refused = await http.get(PATH, headers={"authorization": f"Bearer {token(Scope.ADMIN)}"})
        assert (refused.status_code, refused.json()["errors"][0]["extensions"]["scope"]) == (403, "mesh.audit")
        answer = await http.get(PATH, headers={"authorization": f"Bearer {token(Scope.AUDIT)}"})
        assert (answer.status_code, answer.text) == (200, "x")


async def test_one_ends_when_its_token_expires_and_is_not_taken_for_whole(services: Services) -> None:
    exporter = Scripted(b"first", b"second")
    async with client(replace(services, exporter=exporter), authentication=shared_secret()) as http:
        headers = {"authorization": f"Bearer {token(Scope.AUDIT, exp=soon())}"}
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.get(PATH, headers=headers)
        assert exporter.ended.is_set()
        exporter.gate.set()
        later = {"authorization": f"Bearer {token(Scope.AUDIT)}"}
        assert (await http.get(PATH, headers=later)).content == b"firstsecond"


async def test_a_namespace_that_cannot_be_looked_up_is_unavailable(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_name: str) -> bool:
        raise StoreUnavailable("the database has gone")

    monkeypatch.setattr(services.store.namespaces, "exists", away)
    async with client(replace(services, exporter=Scripted(b"x"))) as http:
        answer = await http.get(PATH, params={"namespace": "billing"})
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (503, "UNAVAILABLE")


async def test_parameters_are_passed_on_or_named_where_they_are_wrong(services: Services) -> None:
    exporter = Scripted(b"x")
    async with client(replace(services, exporter=exporter)) as http:
        given = {"namespace": "billing", "actor": "--out", "ticket": "CHG-1", "format": "csv"}
        times = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00+01:00"}
        assert (await http.get(PATH, params=given | times)).status_code == 200
        ((where, form),) = exporter.asked
        assert (where.namespace, where.actor, where.change_ticket, form) == ("billing", "--out", "CHG-1", "csv")
        assert where.since is not None
        for wrong in ("format=xml", "since=yesterday", "since=2026-01-01", "actor=", "nonsense=1", "actor=a&actor=b"):
            answer = await http.get(f"{PATH}?{wrong}")
            assert answer.status_code == 400
            assert answer.json()["errors"][0]["message"].startswith(wrong.partition("=")[0])
        assert (await http.get(PATH, params={"namespace": "absent"})).status_code == 404
        assert (await http.post(PATH)).status_code == 405
        assert (await http.get(PATH, headers={"sec-fetch-site": "cross-site"})).status_code == 403
    async with client(services) as http:
        assert (await http.get(PATH)).status_code == 404


async def test_one_is_written_at_a_time_and_ends_with_its_client(services: Services) -> None:
    exporter = Scripted(b"first", b"second")
    async with client(replace(services, exporter=exporter)) as http:
        async with http.stream("GET", PATH) as answer:
            chunks = answer.aiter_bytes()
            assert await anext(chunks) == b"first"
            refused = await http.get(PATH)
            assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        async with asyncio.timeout(10):
            await exporter.ended.wait()
        exporter.gate.set()
        assert (await http.get(PATH)).content == b"firstsecond"


async def test_one_whose_client_leaves_before_there_is_anything_to_send_ends(services: Services) -> None:
    exporter = Silent()
    async with client(replace(services, exporter=exporter)) as http:
        waiting = asyncio.create_task(http.get(PATH))
        await exporter.begun.wait()
        waiting.cancel()
        async with asyncio.timeout(10):
            await exporter.ended.wait()
        exporter.chunks = (b"x",)
        assert (await http.get(PATH)).content == b"x"


async def test_one_that_cannot_be_finished_is_not_taken_for_whole(services: Services) -> None:
    exporter = Scripted(b"first", StoreUnavailable("the database has gone"))
    exporter.gate.set()
    async with client(replace(services, exporter=exporter)) as http:
        with pytest.raises(httpx2.RemoteProtocolError):
            await http.get(PATH)
    assert exporter.ended.is_set()
