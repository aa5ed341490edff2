"""The demo mesh."""

from __future__ import annotations

from collections import Counter
from itertools import count

from graph.server.demo import demo_shards, load_demo
from persistence.commands.command import ChangeRequest
from persistence.commands.plans import ApplyPlan
from persistence.model.outcomes import PlanApplied, PlanProposed
from persistence.model.queries import NodeFilter
from persistence.model.records import ChangeKind, MoveReason, ShardKey
from persistence.planning.explanation import Explanation
from persistence.planning.proposal import Proposal
from persistence.planning.what_if import WhatIf
from persistence.postgres.store import open_store
from persistence.service.executor import CommandExecutor
from persistence.service.rebalancer import PlanRequest, Rebalancer
from strategies.registry import Registry
from tests.reference.store import memory_store
from tests.support.mesh import COUNTED, Mesh
from tests.support.model import digest_of, replay


def silent(_: str) -> None:
    pass


def test_it_has_three_namespaces_of_512_shards_over_six_nodes() -> None:
    shards = demo_shards()
    assert Counter(shard.namespace for shard in shards) == {"orders": 512, "sessions": 512, "telemetry": 512}
    assert len({shard.owner_node_id for shard in shards}) == 6
    assert all(shard.leader_id not in (None, shard.owner_node_id) for shard in shards)


async def test_it_loads_with_a_history_that_adds_up(database_url: str) -> None:
    async with open_store(database_url) as store:
        assert await load_demo(store, CommandExecutor(store.unit_of_work), silent)
        mesh = Mesh(store)
        table = await mesh.table()
        assert replay(await mesh.history()) == table
        assert len(table) == 1_536
        for name, strategy in {"orders": "ring", "sessions": "rendezvous", "telemetry": "locality"}.items():
            namespace = await mesh.namespace(name)
            own = [shard for shard in table.values() if shard.namespace == name]
            assert (namespace.strategy, namespace.shard_count) == (strategy, 512)
            assert namespace.digest == digest_of(own)
        kinds = Counter(change.kind for change in await mesh.changes())
        assert kinds[ChangeKind.CONFIGURE_NAMESPACE] == 4
        assert kinds[ChangeKind.DELETE_SHARDS] == 1
        assert kinds[ChangeKind.REGISTER_NODE] == (await store.nodes.page(NodeFilter(), COUNTED)).total == 7


async def test_a_store_that_has_it_all_is_left_alone() -> None:
    """An earlier release told the story otherwise: nothing of it is asked for again, to be refused and recorded."""
    store = memory_store()
    await load_demo(store, CommandExecutor(store.unit_of_work), silent)
    before = await Mesh(store).changes()
    assert await load_demo(store, None, silent)  # type: ignore[arg-type]  # it is not written to
    assert await Mesh(store).changes() == before


async def test_a_plan_gives_its_newest_node_a_share_and_moves_little_else() -> None:
    store, strategies = memory_store(), Registry()
    writer = CommandExecutor(store.unit_of_work, strategies)
    await load_demo(store, writer, silent)
    rebalancer = Rebalancer(store, writer, strategies)
    proposal = await rebalancer.simulate(PlanRequest(), WhatIf())
    assert isinstance(proposal, Proposal)
    assert proposal.violations == ()
    elsewhere = [move for move in proposal.moves if move.to_node_id != "node-eu-3"]
    assert [(move.shard_id, move.from_node_id) for move in elsewhere] == [("orders-007", "node-us-1")]
    assert 200 < len(proposal.moves) < 250
    (newest,) = (load for load in proposal.loads if load.node_id == "node-eu-3")
    assert (newest.shards_before, newest.shards_after) == (0, len(proposal.moves) - 1)
    assert {move.reason for move in proposal.moves} == {MoveReason.PLACEMENT_CHANGED}
    explanation = await rebalancer.explain(ShardKey("orders", "orders-007"))
    assert isinstance(explanation, Explanation)
    assert explanation.summary.startswith("orders/orders-007 is on node-us-1, ring places it on ")
    because = ChangeRequest("alice", "use the new node")
    planned = await rebalancer.plan(PlanRequest(), because)
    assert isinstance(planned, PlanProposed)
    assert isinstance(await writer.execute(ApplyPlan(planned.plan.id, because)), PlanApplied)
    nothing = await rebalancer.simulate(PlanRequest(), WhatIf())
    assert isinstance(nothing, Proposal)
    assert nothing.moves == ()


async def test_loading_it_again_changes_nothing() -> None:
    store = memory_store()
    writer = CommandExecutor(store.unit_of_work)
    await load_demo(store, writer, silent)
    head = await store.stream.head()
    assert await load_demo(store, writer, silent)
    assert await store.stream.head() == head


async def test_a_load_that_was_cut_short_goes_on() -> None:
    whole, broken = memory_store(), memory_store()
    await load_demo(whole, CommandExecutor(whole.unit_of_work), silent)

    class Cut(Exception):
        pass

    steps = count(1)

    def cut(_step: str) -> None:
        if next(steps) == 7:
            raise Cut

    try:
        await load_demo(broken, CommandExecutor(broken.unit_of_work), cut)
    except Cut:
        pass
    else:
        raise AssertionError("the story has fewer than seven changes")
    assert len(await Mesh(broken).changes()) == 6
    await load_demo(broken, CommandExecutor(broken.unit_of_work), silent)
    assert (await broken.stream.head()).revision == (await whole.stream.head()).revision


async def test_a_store_in_use_is_left_alone() -> None:
    store = memory_store()
    mesh = Mesh(store)
    await mesh.configure()
    assert not await load_demo(store, CommandExecutor(store.unit_of_work), silent)
    assert len(await mesh.changes()) == 1
