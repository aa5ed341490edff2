"""Bytes of records: made once for a selection, of the record that is there now and no other, within a bound."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

import pytest
from orjson import Fragment

from graph.auth.principal import UNRESTRICTED, Principal, Scope
from graph.execution.context import Context
from graph.execution.encoding import decoded, encode_json
from graph.execution.records import RecordBytes, SelectionBytes
from graph.execution.services import Feed
from graph.schema.build import MeshSchema
from graph.schema.stream import as_batch
from graph.subscriptions.operation import SubscriptionOperation, open_operation
from persistence.model.records import StreamPosition
from persistence.model.stream import DiffBatch
from tests.reference.store import store_on
from tests.reference.tables import Memory
from tests.support.graphql_api import services_of
from tests.support.mesh import BILLING, new
from tests.support.planned_mesh import PlannedMesh
from tests.support.shared_schema import schema_with_documents_of_its_own

NOW: Final = datetime(2026, 1, 31, 9, 30, 0, 250_000, tzinfo=UTC)
FIELDS: Final = "namespace shardId ownerNodeId version revision updatedAt pinned { by until }"
ONE: Final = f"query ($id: String!) {{ shard(namespace: {json.dumps(BILLING)}, shardId: $id) {{ {FIELDS} }} }}"
NODES: Final = f"query ($asOf: AsOf) {{ shards(asOf: $asOf) {{ nodes {{ {FIELDS} }} }} }}"
EDGES: Final = f"{{ shards {{ edges {{ cursor node {{ {FIELDS} }} }} }} }}"
FOLLOW: Final = f"subscription {{ shardDiffs {{ diffs {{ current {{ {FIELDS} }} }} }} }}"


class FixedFeed:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def begin(self, _: StreamPosition | None) -> StreamPosition:
        return self._memory.tables.head.position


@dataclass
class Server:
    schema: MeshSchema
    memory: Memory
    mesh: PlannedMesh
    context: Context

    @property
    def records(self) -> RecordBytes:
        return self.schema.documents.records

    async def data(self, query: str, **variables: Any) -> Any:
        """As it is encoded: JSON that was kept is a Fragment."""
        result = await self.schema.execute(query, variables, self.context)
        assert result.errors is None
        return result.data

    async def field(self, query: str, **variables: Any) -> Any:
        """The one field, as clients get it."""
        (value,) = json.loads(encode_json(await self.data(query, **variables))).values()
        return value

    async def owners(self) -> dict[str, set[str]]:
        """Of each shard, as a lookup, both lists and a subscriber of its last diff are told."""
        nodes = (await self.field(NODES))["nodes"]
        edges = [edge["node"] for edge in (await self.field(EDGES))["edges"]]
        each = [await self.field(ONE, id=shard["shardId"]) for shard in nodes]
        diffs = [diff["current"] for diff in await self.batch()]
        found: dict[str, set[str]] = {}
        for shard in (*nodes, *edges, *each, *diffs):
            found.setdefault(shard["shardId"], set()).add(shard["ownerNodeId"])
        return found

    async def batch(self) -> list[dict[str, Any]]:
        """The newest diff of each shard, as a subscriber gets it."""
        newest = {diff.key: diff for diff in self.memory.tables.history}
        operation = await open_operation(self.schema, FOLLOW, None, None, self.context)
        assert isinstance(operation, SubscriptionOperation)
        batch = DiffBatch(self.memory.tables.head.position, list(newest.values()), caught_up=True)
        diffs: list[dict[str, Any]] = json.loads(await operation.payload(batch))["data"]["shardDiffs"]["diffs"]
        return diffs


@pytest.fixture
async def server() -> Server:
    memory = Memory(clock=lambda: NOW, epoch="epoch")
    mesh = PlannedMesh(store_on(memory))
    await mesh.configure()
    await mesh.create(*(new(str(number)) for number in range(3)))
    services = services_of(mesh.store, mesh.writer, cast("Feed", FixedFeed(memory)))
    context = Context(services, Principal("ops", frozenset(Scope)), "request", is_encoded=True)
    return Server(schema_with_documents_of_its_own(), memory, mesh, context)


async def test_every_reader_of_a_shard_that_has_changed_is_told_so(server: Server) -> None:
    assert await server.owners() == {"0": {"node-a"}, "1": {"node-a"}, "2": {"node-a"}}
    shard = await server.mesh.shard("1")
    assert shard is not None
    await server.mesh.updated(shard, owner_node_id="node-b")
    assert server.records.size > 0
    for _ in range(2):
        assert await server.owners() == {"0": {"node-a"}, "1": {"node-b"}, "2": {"node-a"}}


async def test_a_record_that_took_the_place_of_another_of_its_revision_is_another_record(server: Server) -> None:
    """As after a failover that lost changes: the same versions and revisions were given to other changes."""
    await server.owners()
    tables = server.memory.tables
    other = {key: replace(shard, owner_node_id="node-c") for key, shard in tables.shards.items()}
    server.memory.tables = replace(tables, shards=other, epoch="other")
    assert {node["ownerNodeId"] for node in (await server.field(NODES))["nodes"]} == {"node-c"}
    assert (await server.field(ONE, id="1"))["ownerNodeId"] == "node-c"


async def test_operations_that_select_the_same_share_what_was_made(server: Server) -> None:
    once = (await server.data(NODES))["shards"]["nodes"]
    assert not any(isinstance(each, Fragment) for each in once)
    first = (await server.data(NODES))["shards"]["nodes"]
    second = (await server.data(NODES))["shards"]["nodes"]
    assert all(isinstance(each, Fragment) for each in first)
    assert list(map(id, first)) == list(map(id, second))
    size = server.records.size
    assert (await server.data(ONE, id="0"))["shard"] is first[0]
    spread = f"{{ shards {{ all: nodes {{ ...f }} }} }} fragment f on Shard {{ {FIELDS} }}"
    assert list(map(id, (await server.data(spread))["shards"]["all"])) == list(map(id, first))
    assert server.records.size == size


async def test_a_batch_gives_and_takes_what_another_operation_selects(server: Server) -> None:
    await server.batch()
    assert server.records.size == 0
    await server.data(ONE, id="none")
    await server.batch()
    assert server.records.size == 0
    await server.batch()
    size = server.records.size
    assert size > 0
    nodes = (await server.data(NODES))["shards"]["nodes"]
    assert all(isinstance(each, Fragment) for each in nodes)
    assert server.records.size == size


async def test_the_change_of_several_rows_is_made_once_for_them_and_never_of_nothing(server: Server) -> None:
    query = "subscription { shardDiffs { diffs { shardId change { id kind actor committedAt } } } }"
    operation = await open_operation(server.schema, query, None, None, server.context)
    assert isinstance(operation, SubscriptionOperation)
    assert operation.run is not None
    history, head = server.memory.tables.history, server.memory.tables.head.position
    none = [replace(row, change=cast("Any", None)) for row in history]
    other = replace(history[0].change, actor="other")
    rows = [*history, replace(history[0], change=other), history[1]]
    for diffs in (none, none[:1], rows, none, rows[2:]):
        batch = DiffBatch(head, diffs, caught_up=True)
        assert await operation.payload(batch) == await replace(operation, run=None).payload(batch)
    event = await operation.run.event(as_batch(DiffBatch(head, rows, caught_up=True), NOW))
    assert event is not None
    made = [diff["change"] for diff in event["shardDiffs"]["diffs"]]
    assert made[1] is made[2]
    assert isinstance(made[1], Fragment)
    assert made[3]["actor"] == "other"


async def test_selections_that_differ_in_a_name_or_a_field_are_made_each(server: Server) -> None:
    plain = (await server.field(NODES))["nodes"][0]
    renamed = NODES.replace("ownerNodeId", "owner: ownerNodeId")
    typed = NODES.replace("ownerNodeId", "__typename ownerNodeId")
    for _ in range(2):
        assert (await server.field(renamed))["nodes"][0] == {
            **{key: value for key, value in plain.items() if key != "ownerNodeId"},
            "owner": plain["ownerNodeId"],
        }
        assert (await server.field(typed))["nodes"][0] == {"__typename": "Shard", **plain}
        assert (await server.field(NODES))["nodes"][0] == plain
    assert list((await server.field(NODES))["nodes"][0]) == [*FIELDS.partition(" pinned")[0].split(), "pinned"]


async def test_conditions_are_part_of_a_selection(server: Server) -> None:
    query = f"query ($v: Boolean!) {{ shards {{ nodes {{ {FIELDS} checksum @include(if: $v) }} }} }}"
    for is_included in (True, False, True):
        assert ("checksum" in (await server.field(query, v=is_included))["nodes"][0]) is is_included


async def test_a_few_fields_are_not_kept(server: Server) -> None:
    await server.data("{ shards { edges { cursor node { shardId version } } nodes { a: shardId shardId version } } }")
    assert server.records.size == 0


async def test_what_is_read_as_of_the_past_is_not_kept(server: Server) -> None:
    for shard in (await server.mesh.table()).values():
        await server.mesh.updated(shard, owner_node_id="node-b")
    for _ in range(2):
        nodes = (await server.field(NODES, asOf={"revision": "3"}))["nodes"]
        assert {node["ownerNodeId"] for node in nodes} == {"node-a"}
    assert server.records.size == 0


async def test_callers_that_do_not_encode_get_plain_data(server: Server) -> None:
    kept = await server.data(NODES)
    server.context = server.context._replace(is_encoded=False)
    plain = await server.data(NODES)
    assert plain == json.loads(encode_json(kept)) == decoded(kept)
    assert plain["shards"]["nodes"][0]["updatedAt"] == "2026-01-31T09:30:00.250000Z"


async def test_what_was_kept_goes_with_the_last_document_that_selects_it(server: Server) -> None:
    for _ in range(2):
        await server.data(NODES)
        await server.data(EDGES)
    with_both = server.records.size
    documents = server.schema.documents
    documents._proven.documents[NODES].release()  # noqa: SLF001 - as when it is forgotten
    assert 0 < server.records.size < with_both
    documents._proven.documents[EDGES].release()  # noqa: SLF001 - as above
    assert server.records.size == 0
    assert not any(isinstance(each, Fragment) for each in (await server.data(NODES))["shards"]["nodes"])


async def test_a_document_that_is_forgotten_is_released(server: Server) -> None:
    for _ in range(2):
        await server.data(NODES)
    assert server.records.size > 0
    for number in range(512):
        for _ in range(3):
            server.schema.documents.parsed(f"{{ a{number}: __typename }}")
            server.schema.documents.plan(f"{{ a{number}: __typename }}", None, UNRESTRICTED)
    assert server.records.size == 0


def test_what_json_cannot_have_is_encoded_as_the_standard_library_does() -> None:
    value = {"kept": Fragment(b'{"a":"\xc3\xa4"}'), "at": NOW, "lone": "\ud800", "large": 2**70}
    expected = {"kept": {"a": "ä"}, "at": "2026-01-31T09:30:00.250000Z", "lone": "\ud800", "large": 2**70}
    assert encode_json(value) == json.dumps(expected, separators=(",", ":")).encode()
    assert decoded(value) == expected
    with pytest.raises(TypeError):
        encode_json({"lone": "\ud800", "other": object()})


@dataclass
class Record:
    number: int


@dataclass
class Holder:
    """Holds these records."""

    records: Sequence[Record]

    def __call__(self, _: object) -> Any:
        return lambda record: any(record is each for each in self.records)


@dataclass
class Run:
    context: None = None


def _made(record: Record, _: Any) -> dict[str, Any]:
    return {"number": record.number, "filler": "x" * 1_000}


def _size(selection: SelectionBytes) -> int:
    return selection.size + selection.old_size


def test_two_generations_bound_the_bytes_of_all_selections() -> None:
    records = [Record(number) for number in range(1_000)]
    all_ = RecordBytes(limit=200_000)
    selections = [all_.use(name, Holder(records)) for name in ("a", "b")]
    for record in records:
        for selection in selections:
            selection.all([record], _made, Run())
            (made,) = selection.all([record], _made, Run())
            assert decoded(made) == _made(record, None)
            assert all_.size == sum(map(_size, selections)) <= 200_000 + 2_200
    assert all_.size > 100_000
    newest = selections[0].all(records[-10:], _made, Run())
    assert list(map(id, newest)) == list(map(id, selections[0].all(records[-10:], _made, Run())))


def test_what_is_kept_takes_no_more_memory_than_is_counted() -> None:
    records = [Record(number) for number in range(1_000)]
    all_ = RecordBytes()
    selection = all_.use("a", Holder(records[:0]))
    selection.all(records, _made, Run())
    selection = all_.use("b", lambda _: lambda _: True)
    selection.all(records, _made, Run())
    tracemalloc.start()
    try:
        selection.all(records, _made, Run())
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 1_000_000 < taken < all_.size


def test_a_record_that_nothing_holds_is_made_anew_and_not_kept() -> None:
    held, other = Record(1), Record(1)
    all_ = RecordBytes()
    selection = all_.use("a", Holder([held]))
    assert selection.all([held, other], _made, Run()) == [_made(held, None), _made(other, None)]
    first, second = selection.all([held, other], _made, Run())
    assert isinstance(first, Fragment)
    assert second == _made(other, None)
    size = all_.size
    del other
    gc.collect()
    assert selection.one(Record(2), _made, Run())["number"] == 2
    assert all_.size == size


def test_what_was_made_before_an_error_is_counted() -> None:
    records = [Record(1), Record(2)]
    all_ = RecordBytes()
    selection = all_.use("a", Holder(records))

    def made(record: Record, run: Any) -> dict[str, Any]:
        if record is records[1]:
            raise KeyError
        return _made(record, run)

    selection.all(records[:1], made, Run())
    with pytest.raises(KeyError):
        selection.all(records, made, Run())
    assert all_.size == _size(selection) > 1_000
    all_.release(selection)
    assert all_.size == 0


def test_times_are_written_as_the_scalar_writes_them() -> None:
    for time in (NOW, NOW.replace(microsecond=0), datetime.min.replace(tzinfo=UTC), NOW + timedelta(microseconds=1)):
        assert json.loads(encode_json(time)) == time.isoformat().replace("+00:00", "Z")
