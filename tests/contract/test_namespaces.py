"""Namespaces: their configuration, and the digest and count that follow their shards."""

from __future__ import annotations

import asyncio
from operator import attrgetter

from persistence.codec.encoding import EMPTY_DIGEST
from persistence.codec.json_documents import write_policy
from persistence.commands.namespaces import ConfigureNamespace
from persistence.model.outcomes import NamespaceConfigured
from persistence.model.records import ChangeKind, ConfigurationChange, Namespace
from strategies.registry import Registry
from tests.support.mesh import (
    ANY_MOVES,
    BILLING,
    CHANGE,
    COUNTED,
    SEARCH,
    Mesh,
    because,
    changed,
    everything,
    everything_backwards,
    new,
    patch,
)
from tests.support.model import digest_of


async def test_a_new_namespace_is_empty_at_version_one(mesh: Mesh) -> None:
    outcome = await mesh.configure(SEARCH, strategy="ring", parameters={"virtualNodes": 7})
    assert outcome.namespace == Namespace(
        name=SEARCH,
        strategy="ring",
        strategy_parameters={"virtualNodes": 7},
        algorithm_version=1,
        parameters_digest=Registry().digest("ring", {"virtualNodes": 7}),
        version=1,
        digest=EMPTY_DIGEST,
        shard_count=0,
        revision=0,
        created_at=outcome.change.committed_at,
        updated_at=outcome.change.committed_at,
        policy=ANY_MOVES,
    )
    assert await mesh.namespace(SEARCH) == outcome.namespace


async def test_a_configuration_is_a_change_without_a_revision(mesh: Mesh) -> None:
    await mesh.create(new("s1"))
    before = (await mesh.store.stream.head()).position
    outcome = await mesh.configure(SEARCH, change=because("search moves in", change_ticket="CHG-7"))
    change = outcome.change
    assert (change.kind, change.namespaces) == (ChangeKind.CONFIGURE_NAMESPACE, (SEARCH,))
    assert (change.first_revision, change.last_revision, change.shard_count) == (None, None, 0)
    assert (change.actor, change.reason, change.change_ticket) == ("ops", "search moves in", "CHG-7")
    assert (await mesh.store.stream.head()).position == before
    assert (await mesh.create(new("s2"))).change.first_revision == 2


async def test_a_configuration_is_audited_with_what_was_before_and_after(mesh: Mesh) -> None:
    first = await mesh.configure(SEARCH, strategy="ring", parameters={"virtualNodes": 7})
    second = await mesh.configure(SEARCH, strategy="locality", parameters={"mode": "strict"}, expected=1)
    ring = {
        "strategy": "ring",
        "strategyParameters": {"virtualNodes": 7},
        "algorithmVersion": 1,
        "parametersDigest": first.namespace.parameters_digest,
        "policy": write_policy(ANY_MOVES),
        "version": 1,
    }
    strict = {
        "strategy": "locality",
        "strategyParameters": {"mode": "strict"},
        "algorithmVersion": 1,
        "parametersDigest": second.namespace.parameters_digest,
        "policy": write_policy(ANY_MOVES),
        "version": 2,
    }
    changes = (await mesh.changes())[-2:]
    assert [change.configuration for change in changes] == [
        ConfigurationChange(SEARCH, None, None, ring),
        ConfigurationChange(SEARCH, None, ring, strict),
    ]


async def test_a_reconfigured_namespace_keeps_its_shards_and_counts_its_versions(mesh: Mesh) -> None:
    await mesh.create(new("s1"))
    before = await mesh.namespace()
    outcome = await mesh.configure(strategy="ring", expected=1)
    after = outcome.namespace
    assert (after.version, after.strategy) == (2, "ring")
    assert (after.digest, after.shard_count, after.revision) == (before.digest, 1, 1)
    assert (after.created_at, after.updated_at) == (before.created_at, outcome.change.committed_at)
    assert await mesh.namespace() == after


async def test_the_configured_strategy_is_stamped_on_a_new_shard(mesh: Mesh) -> None:
    await mesh.configure(SEARCH, strategy="ring")
    assert (await mesh.created("s1", namespace=SEARCH)).strategy == "ring"
    assert (await mesh.created("s1", namespace=BILLING)).strategy == "rendezvous"


async def test_a_new_strategy_reaches_a_shard_when_its_owner_moves(mesh: Mesh) -> None:
    shard = await mesh.created("s1", "node-a")
    await mesh.configure(strategy="ring", expected=1)
    resized = await mesh.updated(shard, capacity_hint=2.0)
    stayed = await mesh.updated(resized, owner_node_id="node-a")
    moved = await mesh.updated(stayed, owner_node_id="node-b")
    assert [one.strategy for one in (resized, stayed, moved)] == ["rendezvous", "rendezvous", "ring"]
    assert (await mesh.history())[-1].changed_fields == ("strategy", "ownerNodeId")


async def test_the_digest_follows_the_table_through_every_change(mesh: Mesh) -> None:
    async def check() -> None:
        table = await mesh.table()
        for name in (BILLING, SEARCH):
            shards = [shard for shard in table.values() if shard.namespace == name]
            namespace = await mesh.namespace(name)
            assert (namespace.digest, namespace.shard_count) == (digest_of(shards), len(shards))

    await mesh.configure(SEARCH, strategy="ring")
    one, two, *_ = (await mesh.create(new("s1"), new("s2"), *(new(f"s{n}", namespace=SEARCH) for n in range(5)))).shards
    await check()
    one = await mesh.updated(one, owner_node_id="node-b")
    await check()
    one = await mesh.updated(one, owner_node_id="node-b")  # a new version of the same content
    await check()
    await mesh.update(*(patch(shard, leader_id="x") for shard in (await mesh.table()).values()))
    await check()
    await mesh.delete(*((await mesh.table()).values()))
    await check()
    assert (await mesh.namespace()).digest == EMPTY_DIGEST
    await mesh.create(new("s1"))
    await check()
    assert two.version == 1


async def test_the_digest_follows_the_table_under_concurrent_writers(mesh: Mesh) -> None:
    async def work(number: int) -> None:
        shard = await mesh.created(f"s{number}")
        for step in range(4):
            shard = await mesh.updated(shard, owner_node_id=f"node-{step}")
        if number % 3 == 0:
            await mesh.delete(shard)

    await asyncio.gather(*map(work, range(10)))
    namespace, table = await mesh.namespace(), await mesh.table()
    assert (namespace.digest, namespace.shard_count) == (digest_of(table.values()), 6)
    assert namespace.revision == (await mesh.store.stream.head()).revision


async def test_the_revision_follows_the_shards_of_the_namespace_only(mesh: Mesh) -> None:
    await mesh.configure(SEARCH)
    await mesh.create(new("s1"), new("s2"))
    await mesh.create(new("s1", namespace=SEARCH))
    assert ((await mesh.namespace(BILLING)).revision, (await mesh.namespace(SEARCH)).revision) == (2, 3)
    await mesh.delete((await mesh.table())[new("s1").key])
    assert ((await mesh.namespace(BILLING)).revision, (await mesh.namespace(SEARCH)).revision) == (4, 3)


async def test_writers_meet_a_reconfiguration_before_or_after_it(mesh: Mesh) -> None:
    """Never in the middle: a shard created after the change of strategy carries the new one."""
    commands = [mesh.create(new(f"s{number}")) for number in range(10)]
    configure = mesh.execute(ConfigureNamespace(BILLING, "ring", {}, 1, CHANGE))
    outcomes = await asyncio.gather(*commands[:5], configure, *commands[5:])
    (configured,) = (outcome for outcome in outcomes if isinstance(outcome, NamespaceConfigured))
    for outcome in outcomes:
        if outcome is not configured:
            created = changed(outcome)
            expected = "ring" if created.change.id > configured.change.id else "rendezvous"
            assert [shard.strategy for shard in created.shards] == [expected]


async def test_a_namespace_that_is_not_there_is_none(mesh: Mesh) -> None:
    assert await mesh.store.namespaces.get("nowhere") is None


async def test_namespaces_are_listed_by_name_bytewise_in_both_directions(mesh: Mesh) -> None:
    for name in ("b", "B", "a.b", "a-b", "a_b", "a"):
        await mesh.configure(name)
    reader, by_name = mesh.store.namespaces, attrgetter("name")
    for size in (1, 2, 3, 500):
        forward = await everything(reader.page, by_name, size=size)
        assert [namespace.name for namespace in forward] == ["B", "a", "a-b", "a.b", "a_b", "b", BILLING]
        assert await everything_backwards(reader.page, by_name, size=size) == forward
    assert (await reader.page(COUNTED)).total == 7
    assert list(await reader.around("a-b", 2)) == ["B", "a", "a.b", "a_b"]
    assert list(await reader.around("a0", 1)) == ["a.b", "a_b"]
    assert list(await reader.around("zzz", 50)) == ["B", "a", "a-b", "a.b", "a_b", "b", BILLING]
    assert (await reader.exists("a-b"), await reader.exists("a0")) == (True, False)
