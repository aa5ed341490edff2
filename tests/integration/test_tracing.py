"""Traces: spans below the caller's, also of changes that are committed together, and the caller's trace id in the log
and with the change."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from graph.http.app import create_app
from graph.server.tracing import OpenTelemetryTracer, open_tracer, require_tracing
from graph.settings import SettingsError, load_settings
from persistence.feed.live import live_feed
from persistence.feed.tailer import FeedLimits
from persistence.ports.store import Store
from persistence.service.executor import CommandExecutor
from tests.reference.store import memory_store
from tests.support.graphql_api import Api, api_of, services_of
from tests.support.graphql_socket import graphql_socket
from tests.support.mesh import BILLING, Mesh, new
from tests.support.reused_store import ReusedStores
from tests.support.serving import serving

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
UPDATE = "mutation Move($input: UpdateShardInput!) { updateShard(input: $input) { __typename } }"
LOOKUP = 'query Lookup { shard(namespace: "billing", shardId: "s1") { version } }'
FOLLOW = "subscription Follow { shardDiffs { cursor diffs { revision } } }"


def parent(trace: str = TRACE, flags: str = "01") -> str:
    return f"00-{trace}-{SPAN}-{flags}"


def move(shard: str = "s1", version: int = 1, **change: Any) -> Mapping[str, Any]:
    given = {"namespace": BILLING, "shardId": shard, "expectedVersion": str(version), "ownerNodeId": "node-b"}
    return {"input": {**given, "change": {"actor": "alice", "reason": "hot", **change}}}


@dataclass
class Traced:
    api: Api
    address: str
    mesh: Mesh
    exporter: InMemorySpanExporter

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def of(self, trace: str) -> Mapping[str, ReadableSpan]:
        """By name."""
        return {span.name: span for span in self.spans if trace_of(span) == trace}

    async def metadata(self) -> Any:
        """Of the newest change."""
        return (await self.mesh.changes())[-1].metadata


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def parent_of(span: ReadableSpan) -> str | None:
    return None if span.parent is None else f"{span.parent.span_id:016x}"


def id_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.span_id:016x}"


@pytest.fixture(params=["memory", "postgres"])
def backend(request: pytest.FixtureRequest) -> ReusedStores | None:
    """None for a store in memory."""
    stores: ReusedStores | None = request.getfixturevalue("reused_stores") if request.param == "postgres" else None
    return stores


@pytest.fixture
async def traced(backend: ReusedStores | None) -> AsyncIterator[Traced]:
    """Shards s0 to s9. Spans are taken only where the caller's are."""
    store: Store = memory_store() if backend is None else (await backend.empty()).store
    mesh = Mesh(store)
    await mesh.configure()
    await mesh.create(*(new(f"s{number}") for number in range(10)))
    provider, exporter = TracerProvider(sampler=ParentBased(ALWAYS_OFF), shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = OpenTelemetryTracer(provider)
    writer = CommandExecutor(store.unit_of_work, group=store.change_group, tracer=tracer)
    async with live_feed(store.stream, store.signal, FeedLimits(bookmark_seconds=0.2)) as feed:
        app = create_app(replace(services_of(store, writer, feed), tracer=tracer))
        async with api_of(app) as api, serving(app) as address:
            yield Traced(api, address, mesh, exporter)
    provider.shutdown()


async def test_an_operation_hangs_below_its_caller_and_its_decision_and_commit_below_it(traced: Traced) -> None:
    await traced.api.post(UPDATE, move(), traceparent=parent())
    spans = traced.of(TRACE)
    assert sorted(spans) == ["commit", "decide", "operation"]
    operation = spans["operation"]
    assert parent_of(operation) == SPAN
    assert {parent_of(spans[name]) for name in ("commit", "decide")} == {id_of(operation)}
    assert dict(operation.attributes or {}) == {
        "omnirelay.transport": "http",
        "omnirelay.outcome": "ok",
        "graphql.operation.type": "mutation",
        "graphql.operation.name": "Move",
        "http.response.status_code": 200,
    }
    assert dict(spans["commit"].attributes or {}) == {"omnirelay.kind": "UPDATE_SHARDS", "omnirelay.changes": 1}


async def test_changes_that_are_committed_together_stay_in_their_own_traces(traced: Traced) -> None:
    """They are decided and committed by a task that the first of them began."""
    traces = [f"{number:032x}" for number in range(1, 10)]
    answers = await asyncio.gather(
        *(traced.api.post(UPDATE, move(f"s{number}"), traceparent=parent(trace)) for number, trace in enumerate(traces))
    )
    assert {answer.json()["data"]["updateShard"]["__typename"] for answer in answers} == {"ShardsChanged"}
    sizes = set()
    for trace in traces:
        spans = traced.of(trace)
        assert sorted(spans) == ["commit", "decide", "operation"]
        assert {parent_of(spans[name]) for name in ("commit", "decide")} == {id_of(spans["operation"])}
        sizes.add((spans["commit"].attributes or {})["omnirelay.changes"])
    assert max(size for size in sizes if isinstance(size, int)) > 1
    assert len(traced.spans) == 3 * len(traces)


async def test_what_the_caller_does_not_sample_has_no_span(traced: Traced) -> None:
    await traced.api.post(UPDATE, move(), traceparent=parent(flags="00"))
    await traced.api.post(LOOKUP)
    assert traced.spans == ()


async def test_lookups_are_traced_whether_executed_or_answered_again_and_those_that_fail(traced: Traced) -> None:
    for query in (LOOKUP, LOOKUP, "query Broken { nowhere }"):
        await traced.api.post(query, traceparent=parent())
    found = [(span.attributes or {}) for span in traced.spans]
    assert [each.get("graphql.operation.name") for each in found] == ["Lookup", "Lookup", "Broken"]
    assert [each["omnirelay.outcome"] for each in found] == ["ok", "ok", "errors"]
    assert found[-1]["omnirelay.codes"] == "GRAPHQL_VALIDATION_FAILED"


@pytest.mark.parametrize("given", ["nonsense", f"00-{'0' * 32}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE}-01"])
async def test_a_header_that_is_none_is_passed_over(traced: Traced, given: str) -> None:
    answer = await traced.api.post(UPDATE, move(), traceparent=given)
    assert answer.json()["data"]["updateShard"]["__typename"] == "ShardsChanged"
    assert traced.spans == ()
    assert await traced.metadata() is None


async def test_a_socket_has_the_trace_of_its_handshake(traced: Traced) -> None:
    from websockets.asyncio.client import connect  # noqa: PLC0415 - for this one
    from websockets.typing import Subprotocol  # noqa: PLC0415 - same

    headers = {"traceparent": parent()}
    protocols = [Subprotocol("graphql-transport-ws")]
    async with connect(f"ws://{traced.address}/graphql", subprotocols=protocols, additional_headers=headers) as socket:
        await socket.send('{"type": "connection_init"}')
        await socket.recv()
        payload = {"query": UPDATE, "variables": move()}
        await socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": payload}))
        assert json.loads(await socket.recv())["type"] == "next"
        assert json.loads(await socket.recv())["type"] == "complete"
    spans = traced.of(TRACE)
    assert sorted(spans) == ["commit", "decide", "operation"]
    assert parent_of(spans["operation"]) == SPAN
    assert await traced.metadata() == {"traceId": TRACE}


async def test_an_event_streams_operation_ends_when_it_begins(traced: Traced) -> None:
    headers = {"accept": "text/event-stream", "traceparent": parent()}
    url = f"http://{traced.address}/graphql"
    async with (
        httpx2.AsyncClient(timeout=60) as http,
        http.stream("POST", url, json={"query": FOLLOW}, headers=headers) as answer,
    ):
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                break
        assert sorted(traced.of(TRACE)) == ["operation"]


async def test_a_batch_names_the_traces_of_its_changes(traced: Traced) -> None:
    """In a trace of its own, which is sampled here where nothing is: so only what is asked of the tracer is seen."""
    named: list[Mapping[str, Any]] = []
    async with graphql_socket(traced.address) as socket:
        await socket.subscribe(FOLLOW)
        await socket.batch()
        tracer = _tracer_of(traced)
        begun = tracer.span

        def noted(name: str, *given: Any, **attributes: Any) -> Any:
            named.append({"name": name, **attributes})
            return begun(name, *given, **attributes)

        tracer.span = noted  # type: ignore[assignment, method-assign]  # to see what is asked of it
        await traced.api.post(UPDATE, move(), traceparent=parent())
        while not (await socket.batch())["diffs"]:
            pass
    (sent,) = [each for each in named if each["name"] == "send batch"]
    assert {**sent, "revision": 0} == {
        "name": "send batch", "revision": 0, "diffs": 1, "subscribers": 1, "traces": TRACE
    }  # fmt: skip


def _tracer_of(traced: Traced) -> OpenTelemetryTracer:
    app: Any = traced.api.http._transport.app  # type: ignore[attr-defined]  # noqa: SLF001 - what it was made with
    tracer: OpenTelemetryTracer = app.middleware_stack._tracer  # noqa: SLF001 - same
    return tracer


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, {"traceId": TRACE}),
        ({"tool": "x"}, {"tool": "x", "traceId": TRACE}),
        ({"traceId": "mine"}, {"traceId": "mine"}),
        (["a", "list"], ["a", "list"]),
        ({"long": "x" * 1_000}, {"long": "x" * 1_000}),
    ],
)
async def test_the_callers_trace_id_is_kept_with_the_change_and_logged(
    traced: Traced, caplog: pytest.LogCaptureFixture, given: Any, kept: Any
) -> None:
    caplog.set_level(logging.INFO, "graph")
    # Whether it is sampled or not: the caller's log has it either way.
    await traced.api.post(UPDATE, move(metadata=given), traceparent=parent(flags="00"))
    assert await traced.metadata() == kept
    lines = [record.fields for record in caplog.records if record.getMessage() == "change"]  # type: ignore[attr-defined]
    assert [line["trace_id"] for line in lines] == [TRACE]


async def test_a_retry_in_another_trace_is_the_same_request(traced: Traced) -> None:
    answers = [
        await traced.api.post(UPDATE, move(idempotencyKey="k"), traceparent=parent(trace))
        for trace in (TRACE, "1" * 32)
    ]
    assert [answer.json()["data"]["updateShard"]["__typename"] for answer in answers] == ["ShardsChanged"] * 2
    assert await traced.metadata() == {"traceId": TRACE}


def test_without_the_extra_a_server_that_shall_trace_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    require_tracing(load_settings(None, {}))
    with pytest.raises(SettingsError, match=r"^tracing: .*pip install 'omnirelay-shards\[tracing\]'"):
        require_tracing(load_settings(None, {"OMNIRELAY_TRACING": "otlp"}))


async def test_spans_are_sent_where_the_variables_name(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[bytes] = []

    async def collector(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        received.append(head + await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(collector, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{host}:{port}")
        async with open_tracer(load_settings(None, {"OMNIRELAY_TRACING": "otlp"})) as tracer:
            with tracer.span("operation", tracer.root):
                assert tracer.trace_id()
    (sent,) = received
    assert sent.startswith(b"POST /v1/traces ")
    assert b"omnirelay" in sent
