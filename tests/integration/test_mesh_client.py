"""A node's table is the server's, whatever happens to the server, to the way there, and to the table itself."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from graph.client import MeshClient, NotReady, OperationRefused, State, TableChange
from persistence.codec import cursors
from persistence.commands.nodes import RegisterNode
from persistence.commands.shards import PinRequest
from persistence.model.records import Shard, ShardKey
from persistence.postgres.stream import begin_new_epoch
from tests.support.command_line import started
from tests.support.mesh import CHANGE, Mesh, new, patch
from tests.support.mesh_server import MeshServer
from tests.support.real_server import RealServer
from tests.support.silent_proxy import silent_proxy

SECONDS = 20.0


@pytest.fixture
def server() -> Iterator[MeshServer]:
    with MeshServer() as server:
        yield server


@pytest.fixture
def orders(server: MeshServer) -> MeshServer:
    """With three shards of `orders`, all on node-1."""

    async def fill(mesh: Mesh) -> None:
        await mesh.configure("orders")
        await mesh.create(*(new(shard_id, "node-1", namespace="orders") for shard_id in ("s1", "s2", "s3")))

    server.run(fill(server.mesh))
    return server


async def move(mesh: Mesh, shard_id: str, owner: str, namespace: str = "orders") -> int:
    """The revision that this made."""
    shard = await mesh.shard(shard_id, namespace)
    assert shard is not None
    return (await mesh.updated(shard, owner_node_id=owner)).revision


async def delete(mesh: Mesh, shard_id: str) -> None:
    shard = await mesh.shard(shard_id, "orders")
    assert shard is not None
    await mesh.delete(shard)


def held(mesh: MeshClient) -> dict[ShardKey, Shard]:
    return {shard.key: shard for name in mesh.namespaces() for shard in mesh.shards(name).values()}


def until(mesh: MeshClient, holds: Callable[[], bool]) -> None:
    assert mesh.wait_until(holds, SECONDS), (mesh.state, mesh.position, mesh.lag, mesh.counters)


def until_live(mesh: MeshClient) -> None:
    until(mesh, lambda: mesh.state is State.LIVE)


class Told:
    """What a listener was told, and the table it makes of that."""

    def __init__(self) -> None:
        self.changes: list[TableChange] = []
        self.mirror: dict[ShardKey, Shard] = {}

    def __call__(self, change: TableChange) -> None:
        self.changes.append(change)
        for shard in change.shards:
            key = ShardKey(shard.namespace, shard.shard_id)
            assert self.mirror.get(key) == shard.previous, key
            if shard.current is None:
                del self.mirror[key]
            else:
                self.mirror[key] = shard.current

    @property
    def revisions(self) -> list[int]:
        return [change.revision for change in self.changes]


def test_a_node_looks_up_owners_and_is_notified_of_changes(orders: MeshServer) -> None:
    with MeshClient(orders.url) as mesh:
        until_live(mesh)
        assert (mesh.owner("orders", "s1"), mesh.owner("orders", "s9"), mesh.owner("none", "s1")) == (
            *("node-1", None, None),
        )
        assert mesh.shard("orders", "s9") is None
        revision = orders.run(move(orders.mesh, "s1", "node-2"))
        mesh.wait_for(revision, SECONDS)
        assert mesh.owner("orders", "s1") == "node-2"
        assert mesh.shard("orders", "s1") == orders.run(orders.mesh.shard("s1", "orders"))
        assert (mesh.position, mesh.lag.revisions, mesh.lag.seconds < SECONDS) == (4, 0, True)
        assert mesh.counters.tables == 1


def test_the_table_of_before_stays_as_it_was_copied(orders: MeshServer) -> None:
    with MeshClient(orders.url) as mesh:
        copy = mesh.shards("orders")
        mesh.wait_for(orders.run(move(orders.mesh, "s1", "node-2")), SECONDS)
        assert copy["s1"].owner_node_id == "node-1"
        assert list(copy) == ["s1", "s2", "s3"]


def test_a_table_read_while_writers_write_ends_as_the_servers(server: MeshServer) -> None:
    stop = threading.Event()

    async def write(number: int) -> None:
        chance = random.Random(number)
        names = [f"w{number}-{shard}" for shard in range(300)]
        namespace = ("orders", "billing")[number % 2]
        await server.mesh.create(*(new(name, namespace=namespace) for name in names))
        while not stop.is_set():
            name = chance.choice(names)
            shard = await server.mesh.shard(name, namespace)
            if shard is None:
                await server.mesh.created(name, namespace=namespace)
            elif chance.random() < 0.3:
                await server.mesh.delete(shard)
            else:
                await server.mesh.update(patch(shard, owner_node_id=f"node-{chance.randrange(9)}"))
            await asyncio.sleep(0)

    async def write_all() -> None:
        await asyncio.gather(*(write(number) for number in range(2)))

    async def configure() -> None:
        for name in ("orders", "billing"):
            await server.mesh.configure(name)

    server.run(configure())
    told = Told()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(server.run, write_all())
        mesh = MeshClient(server.url, verify_seconds=0.2)
        mesh.on_change(told)
        try:
            with mesh:
                until(mesh, lambda: mesh.counters.proofs >= 3)
                stop.set()
                writing.result()
                mesh.wait_for(server.run(server.mesh.store.stream.head()).revision, SECONDS)
                assert mesh.counters.wrong == 0
        finally:
            stop.set()
    assert held(mesh) == told.mirror == server.run(server.mesh.table())


def test_a_server_that_was_away_costs_no_change_and_repeats_none(orders: MeshServer) -> None:
    told = Told()
    mesh = MeshClient(orders.url)
    mesh.on_change(told)
    with mesh:
        until_live(mesh)
        orders.stop()
        until(mesh, lambda: mesh.state is State.AWAY)
        assert mesh.owner("orders", "s1") == "node-1"
        for owner in ("node-2", "node-3"):
            last = orders.run(move(orders.mesh, "s1", owner))
        assert mesh.owner("orders", "s1") == "node-1"
        orders.start()
        mesh.wait_for(last, SECONDS)
        assert mesh.owner("orders", "s1") == "node-3"
        until_live(mesh)
    shown = [shard.current and shard.current.owner_node_id for change in told.changes for shard in change.shards]
    assert shown == ["node-1", "node-1", "node-1", "node-2", "node-3"]
    first, *others = (change.replaced for change in told.changes)
    assert (first, any(others)) == (True, False)
    assert told.mirror == orders.run(orders.mesh.table())


def test_a_record_that_was_altered_here_is_noticed_and_healed(
    orders: MeshServer, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    mesh = MeshClient(orders.url, verify_seconds=0.05)
    with mesh:
        until_live(mesh)
        shard = mesh.shard("orders", "s2")
        assert shard is not None
        mesh.on_change(told.changes.append)
        object.__setattr__(shard, "owner_node_id", "node-666")
        assert mesh.owner("orders", "s2") == "node-666"
        until(mesh, lambda: mesh.counters.wrong == 1 and mesh.owner("orders", "s2") == "node-1")
        until_live(mesh)
        assert mesh.counters.tables == 2
        proofs = mesh.counters.proofs
        until(mesh, lambda: mesh.counters.proofs > proofs)
        assert mesh.counters.wrong == 1
    (change,) = told.changes
    assert change.replaced
    assert [(healed.shard_id, (healed.current or shard).owner_node_id) for healed in change.shards] == [
        ("s2", "node-1")
    ]
    assert "namespace orders was altered here" in caplog.text


def test_a_table_with_pins_and_groups_is_proven(orders: MeshServer) -> None:
    orders.run(orders.mesh.execute(RegisterNode("node-1", CHANGE)))
    pinned = new("p1", "node-1", namespace="orders", anti_affinity_group="g", pin=PinRequest("audit"))
    orders.run(orders.mesh.create(pinned))
    with MeshClient(orders.url, verify_seconds=0.05) as mesh:
        until_live(mesh)
        orders.run(orders.mesh.create(new("p2", "node-2", namespace="orders", anti_affinity_group="g")))
        until(mesh, lambda: mesh.shard("orders", "p2") is not None)
        proofs = mesh.counters.proofs
        until(mesh, lambda: mesh.counters.proofs > proofs + 1)
        assert mesh.counters.wrong == 0
        assert held(mesh) == orders.run(orders.mesh.table())


def test_a_position_that_was_compacted_away_means_a_new_table_and_its_net_difference(orders: MeshServer) -> None:
    told = Told()
    mesh = MeshClient(orders.url, relist_seconds=0.2)
    mesh.on_change(told)
    with mesh:
        until_live(mesh)
        orders.stop()

        async def meanwhile() -> None:
            await move(orders.mesh, "s1", "node-2")
            await delete(orders.mesh, "s2")
            await orders.mesh.created("s2", "node-4", namespace="orders")
            await delete(orders.mesh, "s3")

        orders.run(meanwhile())
        orders.memory.tables = replace(orders.memory.tables, floor=5)
        orders.start()
        mesh.wait_for(7, SECONDS)
    assert held(mesh) == told.mirror == orders.run(orders.mesh.table())
    _, change = told.changes
    assert change.replaced
    assert {shard.shard_id for shard in change.shards} == {"s1", "s2", "s3"}


def test_a_store_that_was_replaced_means_a_new_table(orders: MeshServer) -> None:
    told = Told()
    mesh = MeshClient(orders.url, relist_seconds=0.2)
    mesh.on_change(told)
    with mesh:
        until_live(mesh)
        orders.stop()
        orders.memory.tables = replace(orders.memory.tables, epoch="another")
        orders.start()
        until(mesh, lambda: mesh.counters.tables == 2)
        until_live(mesh)
        mesh.wait_for(orders.run(move(orders.mesh, "s1", "node-2")), SECONDS)
    assert [(change.replaced, len(change.shards)) for change in told.changes] == [(True, 3), (True, 0), (False, 1)]


def test_a_connection_that_fell_silent_is_given_up(orders: MeshServer) -> None:
    with silent_proxy(orders.url) as proxy, MeshClient(proxy.url, silence_seconds=1.0) as mesh:
        until_live(mesh)
        proxy.cut()
        revision = orders.run(move(orders.mesh, "s1", "node-2"))
        mesh.wait_for(revision, SECONDS)
        assert mesh.counters.connections == 2
        assert mesh.counters.tables == 1


@pytest.mark.parametrize("namespaces", [["orders"], ["orders", "billing"]])
def test_only_the_namespaces_that_were_asked_for_are_kept(orders: MeshServer, namespaces: list[str]) -> None:
    async def fill() -> None:
        for name in ("billing", "search"):
            await orders.mesh.configure(name)
            await orders.mesh.create(new("s1", namespace=name))

    orders.run(fill())
    with MeshClient(orders.url, namespaces) as mesh:
        until_live(mesh)
        assert mesh.namespaces() == sorted(namespaces)
        orders.run(move(orders.mesh, "s1", "node-7", "search"))
        mesh.wait_for(orders.run(move(orders.mesh, "s1", "node-2")), SECONDS)
        assert mesh.owner("orders", "s1") == "node-2"
        assert mesh.owner("search", "s1") is None
        assert mesh.counters.wrong == 0


def test_a_namespace_that_does_not_exist_is_refused(orders: MeshServer) -> None:
    orders.run(orders.mesh.configure("empty"))
    for namespaces in (["ordrs"], ["empty", "ordrs"]):
        with pytest.raises(OperationRefused, match=r"there is no namespace ordrs; did you mean orders\?") as refused:
            MeshClient(orders.url, namespaces).__enter__()
        assert refused.value.code == "NOT_FOUND"


def test_a_namespace_that_is_created_later_is_followed_where_that_is_asked_for(server: MeshServer) -> None:
    server.run(server.mesh.configure("orders"))
    for namespaces in (["later"], ["orders", "last"]):
        name = namespaces[-1]
        with MeshClient(server.url, namespaces, allow_missing=True) as mesh:
            until_live(mesh)
            assert mesh.shards(name) == {}
            server.run(server.mesh.configure(name))
            mesh.wait_for(server.run(server.mesh.created("s1", namespace=name)).revision, SECONDS)
            assert mesh.owner(name, "s1") == "node-a"
            assert mesh.counters.wrong == 0


def test_namespaces_are_a_list_of_at_least_one_name() -> None:
    anything: Any = ["orders", 7]
    for namespaces in ("orders", anything):
        with pytest.raises(TypeError, match="namespaces: "):
            MeshClient("http://127.0.0.1:1", namespaces)
    with pytest.raises(ValueError, match="namespaces: name at least one"):
        MeshClient("http://127.0.0.1:1", [])


def test_a_namespace_without_shards_is_empty_until_the_first_comes(server: MeshServer) -> None:
    server.run(server.mesh.configure("orders"))
    with MeshClient(server.url, ["orders"]) as mesh:
        assert mesh.shards("orders") == {}
        mesh.wait_for(server.run(server.mesh.created("s1", namespace="orders")).revision, SECONDS)
        assert mesh.owner("orders", "s1") == "node-a"


def test_a_shard_that_was_deleted_and_made_again_goes_on_with_its_counters(orders: MeshServer) -> None:
    told = Told()
    mesh = MeshClient(orders.url)
    mesh.on_change(told)
    with mesh:
        until_live(mesh)
        orders.run(delete(orders.mesh, "s1"))
        mesh.wait_for(4, SECONDS)
        assert mesh.owner("orders", "s1") is None
        orders.run(orders.mesh.created("s1", "node-5", namespace="orders"))
        mesh.wait_for(5, SECONDS)
        shard = mesh.shard("orders", "s1")
        assert shard is not None
        assert (shard.owner_node_id, shard.version, shard.owner_epoch) == ("node-5", 3, 2)
    assert told.revisions == [3, 4, 5]


def test_a_listener_that_raises_is_logged_and_does_not_stop_the_others(
    orders: MeshServer, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    failed: list[int] = []

    def fail(change: TableChange) -> None:
        failed.append(change.revision)
        raise ZeroDivisionError

    mesh = MeshClient(orders.url)
    mesh.on_change(fail)
    mesh.on_change(told)
    with caplog.at_level(logging.ERROR), mesh:
        for owner in ("node-2", "node-3"):
            mesh.wait_for(orders.run(move(orders.mesh, "s1", owner)), SECONDS)
        until(mesh, lambda: told.revisions == [3, 4, 5])
    assert failed == [3, 4, 5]
    assert caplog.text.count("a listener to changes of the table failed") == 3


def test_a_listener_that_left_is_called_no_more(orders: MeshServer) -> None:
    told = Told()
    mesh = MeshClient(orders.url)
    leave = mesh.on_change(told)
    with mesh:
        until_live(mesh)
        leave()
        mesh.wait_for(orders.run(move(orders.mesh, "s1", "node-2")), SECONDS)
    assert told.revisions == [3]


def test_of_several_servers_the_next_one_is_asked(orders: MeshServer) -> None:
    with MeshServer() as gone:
        nobody = gone.url
    with MeshClient([nobody, orders.url]) as mesh:
        until_live(mesh)
        assert mesh.owner("orders", "s1") == "node-1"


def test_without_a_server_a_node_is_told_what_is_in_the_way() -> None:
    with MeshServer() as gone:
        nobody = gone.url
    mesh = MeshClient(nobody, start_seconds=0.3)
    with pytest.raises(NotReady, match=r"no proven table within 0\.3 seconds: There is no server at http") as failed:
        mesh.__enter__()
    assert nobody in str(failed.value)
    assert mesh.owner("orders", "s1") is None
    assert mesh.lag.seconds == float("inf")


def test_a_server_that_refuses_is_not_waited_for(server: MeshServer) -> None:
    with pytest.raises(OperationRefused, match="namespace"):
        MeshClient(server.url, ["not a name!"]).__enter__()


def test_an_address_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="not the address of a server"):
        MeshClient("mesh")
    with pytest.raises(ValueError, match="server: name at least one"):
        MeshClient([])


def test_a_revision_that_does_not_come_is_a_timeout_that_says_where_the_table_is(orders: MeshServer) -> None:
    with MeshClient(orders.url) as mesh:
        until_live(mesh)
        with pytest.raises(TimeoutError, match=r"Revision 9 did not come within 0\.1 seconds: the table is LIVE at"):
            mesh.wait_for(9, 0.1)


def test_a_cursor_waits_for_its_own_stream(orders: MeshServer) -> None:
    with MeshClient(orders.url) as mesh:
        until_live(mesh)
        revision = orders.run(move(orders.mesh, "s1", "node-2"))
        position = orders.run(orders.mesh.store.stream.position_at(revision))
        mesh.wait_for(cursors.STREAM.write(position), SECONDS)
        assert mesh.owner("orders", "s1") == "node-2"
        mesh.wait_for(revision, 0)
        with pytest.raises(TimeoutError, match="it was asked for in stream other"):
            mesh.wait_for(cursors.STREAM.write(position._replace(epoch="other")), 0.1)
        with pytest.raises(ValueError, match="this is not a cursor"):
            mesh.wait_for("4", 0.1)


def test_a_closed_client_goes_on_answering(orders: MeshServer) -> None:
    with MeshClient(orders.url) as mesh:
        until_live(mesh)
    orders.run(move(orders.mesh, "s1", "node-2"))
    assert (mesh.owner("orders", "s1"), mesh.state) == ("node-1", State.AWAY)


def test_a_node_that_starts_while_the_server_is_away_has_the_table_of_before(
    orders: MeshServer, tmp_path: Path
) -> None:
    cache = tmp_path / "mesh.json"
    with MeshClient(orders.url, cache=cache) as mesh:
        mesh.wait_for(orders.run(move(orders.mesh, "s1", "node-2")), SECONDS)
    orders.stop()
    told = Told()
    mesh = MeshClient(orders.url, cache=cache)
    mesh.on_change(told)
    with mesh:
        assert (mesh.owner("orders", "s1"), mesh.state, mesh.position) == ("node-2", State.AWAY, 4)
        revision = orders.run(move(orders.mesh, "s2", "node-3"))
        orders.start()
        mesh.wait_for(revision, SECONDS)
        until(mesh, lambda: mesh.counters.proofs == 1)
        assert mesh.counters.tables == 0
    assert told.revisions == [4, 5]
    assert told.mirror == held(mesh) == orders.run(orders.mesh.table())


@pytest.mark.parametrize("damage", ['"node-1"', '"position":"3"', '"cursor":"'])
def test_a_cache_that_was_damaged_is_no_harm(orders: MeshServer, tmp_path: Path, damage: str) -> None:
    cache = tmp_path / "mesh.json"
    with MeshClient(orders.url, cache=cache) as mesh:
        until_live(mesh)
    content = cache.read_text()
    assert damage in content
    cache.write_text(content.replace(damage, damage.replace("1", "6").replace("3", "2").replace(':"', ':"x'), 1))
    with MeshClient(orders.url, cache=cache) as mesh:
        until_live(mesh)
        assert held(mesh) == orders.run(orders.mesh.table())
        assert mesh.counters.tables == 1


def test_a_table_goes_on_after_kill_9_of_the_server_and_in_another_epoch(database_url: str) -> None:
    told = Told()
    with serving(database_url) as server:
        fill(server)
        mesh = MeshClient(server.url, relist_seconds=0.2)
        mesh.on_change(told)
        with mesh:
            until_live(mesh)
            change(server, "s1", "node-2")
            mesh.wait_for(4, SECONDS)
            server.process.send(signal.SIGKILL)
            until(mesh, lambda: mesh.state is State.AWAY)
            assert mesh.owner("orders", "s1") == "node-2"
            with serving(database_url, urlsplit(server.url).port) as successor:
                change(successor, "s2", "node-3")
                mesh.wait_for(5, SECONDS)
                until(mesh, lambda: told.revisions == [3, 4, 5])
                assert [change.replaced for change in told.changes] == [True, False, False]
                asyncio.run(begin_new_epoch(database_url))
                until(mesh, lambda: mesh.counters.tables == 2)
                change(successor, "s3", "node-4")
                mesh.wait_for(6, SECONDS)
                until_live(mesh)
    assert mesh.counters.wrong == 0
    owners = {shard.shard_id: shard.owner_node_id for shard in held(mesh).values()}
    assert owners == {"s1": "node-2", "s2": "node-3", "s3": "node-4"}
    assert told.mirror == held(mesh)


@contextmanager
def serving(database_url: str, port: int | None = 0) -> Iterator[RealServer]:
    """A server in a process of its own; killed in the end."""
    with started("serve", "--port", port, "--no-demo", "--database-url", database_url) as process:
        url = process.line().removeprefix("GraphiQL").strip().removesuffix("/graphql")
        with httpx2.Client(timeout=60) as http:
            yield RealServer(process, url, http)


def fill(server: RealServer) -> None:
    server.change("ConfigureNamespace", "NamespaceConfigured", name="orders", strategy="rendezvous", expectedVersion=0)
    shards = [{"namespace": "orders", "shardId": shard, "ownerNodeId": "node-1"} for shard in ("s1", "s2", "s3")]
    server.change("CreateShards", "ShardsChanged", shards=shards)


def change(server: RealServer, shard_id: str, owner: str) -> None:
    where: dict[str, Any] = {"namespace": "orders", "shardId": shard_id}
    server.change("UpdateShard", "ShardsChanged", **where, expectedVersion=1, ownerNodeId=owner)
