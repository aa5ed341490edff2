"""A server that is frozen, or cut off, at any point of a write holds up no other writer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

import pytest

from persistence.commands.command import Command
from persistence.commands.namespaces import ConfigureNamespace
from persistence.commands.nodes import RegisterNode, UpdateNode
from persistence.commands.plans import ApplyPlan, ApprovePlan, StorePlan
from persistence.commands.shards import CreateShards, DeleteShards, PinRequest, ShardExpectation, UpdateShards
from persistence.model.policy import NamespacePolicy
from persistence.model.records import NodeStatus, Shard
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from tests.support.mesh import BILLING, CHANGE, SEARCH, as_it_is, because, new, patch
from tests.support.planned_mesh import PlannedMesh

MOST_MESSAGES: Final = 16
"""That any of these commands sends to PostgreSQL."""

NUMBERS: Final = count(1)

Ask: TypeAlias = Callable[[PlannedMesh], Awaitable[Command | Sequence[Command]]]
"""What is executed while messages are counted: one command, or several at once."""


class Freezer:
    """Stands between one server process and PostgreSQL. Once `left` messages were passed on, nothing comes through any
    more, in either direction, and no connection is closed over it."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self.left: int | None = None
        self.frozen = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(self._socket, limit=1 << 24)
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(self._pass_on(reader, back, counted=True), self._pass_on(there, writer, counted=False))
        for end in (writer, back):
            end.close()

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, counted: bool) -> None:
        while data := await source.read(1 << 24):
            if self.left == 0:
                self.frozen.set()
                continue
            if counted and self.left is not None:
                self.left -= 1
            sink.write(data)
            await sink.drain()
        sink.close()


@asynccontextmanager
async def freezer(database_url: str) -> AsyncIterator[tuple[Freezer, str]]:
    """And the URL of the database behind it."""
    parts = urlsplit(database_url)
    (folder,), (port,) = (parse_qs(parts.query)[name] for name in ("host", "port"))
    between = Freezer(f"{folder}/.s.PGSQL.{port}")
    listener = await asyncio.start_server(between.serve, "127.0.0.1", 0, limit=1 << 24)
    try:
        yield between, f"postgresql://{parts.username}@127.0.0.1:{listener.sockets[0].getsockname()[1]}{parts.path}"
    finally:
        listener.close()


async def there(mesh: PlannedMesh, shard_id: str, namespace: str = BILLING) -> Shard:
    shard = await mesh.shard(shard_id, namespace)
    assert shard is not None
    return shard


async def update(mesh: PlannedMesh) -> Command:
    return UpdateShards([patch(await there(mesh, "s1"), owner_node_id="node-a")], CHANGE)


async def update_with_a_key(mesh: PlannedMesh) -> Command:
    shard = await there(mesh, "s1")
    change = because("once", idempotency_key=f"at version {shard.version}")
    return UpdateShards([patch(shard, owner_node_id="node-b")], change)


async def update_at_a_stale_version(_: PlannedMesh) -> Command:
    return DeleteShards([ShardExpectation(BILLING, "s1", 7_777)], CHANGE)


async def create(_: PlannedMesh) -> Command:
    return CreateShards([new(f"c{next(NUMBERS)}", "node-c", anti_affinity_group=f"g{next(NUMBERS)}")], CHANGE)


async def create_many(_: PlannedMesh) -> Command:
    return CreateShards([new(f"m{next(NUMBERS)}") for _ in range(250)], CHANGE)


async def several(mesh: PlannedMesh) -> Sequence[Command]:
    """As one group: updates, creations and a deletion, where no policy counts moves."""
    first, second = [await there(mesh, name, SEARCH) for name in ("s1", "s2")]
    gone = await mesh.created(f"d{next(NUMBERS)}", namespace=SEARCH)
    keyed = because("once", idempotency_key=f"several {next(NUMBERS)}")
    return [
        UpdateShards([patch(first, owner_node_id="node-a")], CHANGE),
        UpdateShards([patch(second, owner_node_id="node-a")], keyed),
        *(CreateShards([new(f"c{next(NUMBERS)}", namespace=SEARCH)], CHANGE) for _ in range(3)),
        DeleteShards([as_it_is(gone)], CHANGE),
    ]


async def pin(mesh: PlannedMesh) -> Command:
    return UpdateShards([patch(await mesh.created(f"n{next(NUMBERS)}"), pin=PinRequest("hot tenant"))], CHANGE)


async def delete(mesh: PlannedMesh) -> Command:
    return DeleteShards([as_it_is(await mesh.created(f"d{next(NUMBERS)}"))], CHANGE)


async def configure(mesh: PlannedMesh) -> Command:
    return ConfigureNamespace(BILLING, "ring", {}, (await mesh.namespace()).version, CHANGE)


async def change_a_node(mesh: PlannedMesh) -> Command:
    return UpdateNode("node-z", (await mesh.node("node-z")).version, CHANGE, status=NodeStatus.DRAINING)


async def register_a_node(_: PlannedMesh) -> Command:
    return RegisterNode(f"node-{next(NUMBERS)}", CHANGE)


async def propose_a_plan(mesh: PlannedMesh) -> Command:
    """Again what was proposed before; of a new proposal it differs in nothing that is sent."""
    await mesh.created(f"p{next(NUMBERS)}", "gone")
    known = (await mesh.plan()).plan
    await mesh.reject(known)
    return StorePlan(await mesh.proposal(known), CHANGE)


async def approve_a_plan(mesh: PlannedMesh) -> Command:
    await mesh.created(f"p{next(NUMBERS)}", "gone")
    return ApprovePlan((await mesh.plan()).plan.id, CHANGE)


async def apply_a_plan(mesh: PlannedMesh) -> Command:
    await mesh.created(f"p{next(NUMBERS)}", "gone")
    return ApplyPlan((await mesh.plan()).plan.id, CHANGE)


async def everything_else(mesh: PlannedMesh) -> None:
    """Writes to all that any of these commands is about."""
    shards = [await there(mesh, name) for name in ("s1", "s2", "s3")]
    await mesh.update(*(patch(shard, owner_node_id="gone") for shard in shards))
    await mesh.created(f"e{next(NUMBERS)}", "node-d")
    await mesh.update(*[patch(await there(mesh, name, SEARCH), owner_node_id="gone") for name in ("s1", "s2")])
    await mesh.created(f"e{next(NUMBERS)}", "node-d", namespace=SEARCH)
    await mesh.configure(expected=(await mesh.namespace()).version, policy=POLICY)
    await mesh.mark("node-a", weight=2)
    await mesh.mark("node-z", weight=3)


async def execute(writer: CommandExecutor, asked: Command | Sequence[Command]) -> None:
    await asyncio.gather(*map(writer.execute, asked if isinstance(asked, Sequence) else [asked]))


POLICY: Final = NamespacePolicy(window_moves=100_000, move_budget_percent=100)


@pytest.mark.parametrize(
    "ask",
    [
        update,
        update_with_a_key,
        update_at_a_stale_version,
        create,
        create_many,
        several,
        pin,
        delete,
        configure,
        register_a_node,
        change_a_node,
        propose_a_plan,
        approve_a_plan,
        apply_a_plan,
    ],
)
async def test_nothing_waits_for_a_writer_that_is_frozen_at_any_point(database_url: str, ask: Ask) -> None:
    async with open_store(database_url) as store:
        mesh = PlannedMesh(store)
        await mesh.configure(policy=POLICY)
        await mesh.configure(SEARCH)
        await mesh.registered("node-a", "node-z")
        await mesh.create(new("s1", "gone"), new("s2", "gone"), new("s3", "gone"))
        await mesh.create(new("s1", "gone", namespace=SEARCH), new("s2", "gone", namespace=SEARCH))
        for messages in range(MOST_MESSAGES):
            async with freezer(database_url) as (between, url), open_store(url, write_connections=1) as cut_off:
                writer = CommandExecutor(cut_off.unit_of_work, group=cut_off.change_group)
                await execute(writer, await ask(mesh))  # its connection has prepared every statement
                asked = await ask(mesh)
                between.left = messages
                writing = asyncio.create_task(execute(writer, asked))
                frozen = asyncio.create_task(between.frozen.wait())
                await asyncio.wait([writing, frozen], return_when=asyncio.FIRST_COMPLETED)
                over = not frozen.done()
                # By far less than the timeouts of locks and of idle transactions.
                async with asyncio.timeout(5):
                    await everything_else(mesh)
                for task in (writing, frozen):
                    task.cancel()
                await asyncio.gather(writing, frozen, return_exceptions=True)
            if over:
                return
        pytest.fail(f"it takes more than {MOST_MESSAGES} messages")
