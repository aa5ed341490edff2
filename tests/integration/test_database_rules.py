"""The rules that the database keeps by itself, whatever is sent to it past the store."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from persistence.errors import PlanCorrupt
from persistence.planning.proposal import document_id
from persistence.postgres.store import open_store
from tests.support.databases import Databases
from tests.support.mesh import Mesh, new
from tests.support.planned_mesh import PlannedMesh
from tests.support.reused_store import ReusedStore, ReusedStores
from tests.support.sql import fetch


@pytest.fixture
async def there(reused_stores: ReusedStores) -> ReusedStore:
    """For statements that are refused, and change nothing."""
    return await reused_stores.empty()


@pytest.fixture(scope="module")
async def planned(module_database_url: str) -> str:
    """With a node and a plan."""
    async with open_store(module_database_url) as store:
        mesh = PlannedMesh(store)
        await mesh.configure()
        await mesh.plan_to_rescue(2)
    return module_database_url


async def unguarded(url: str, statements: str) -> None:
    """As the owner of the tables of plans can, with their triggers off."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "ALTER TABLE rebalance_plans DISABLE TRIGGER USER; "
            "ALTER TABLE rebalance_plan_documents DISABLE TRIGGER USER"
        )
        await connection.execute(statements)
    finally:
        await connection.close()


@pytest.mark.parametrize("table", ["changes", "shard_history"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET namespace = 'x'", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
async def test_history_is_append_only(there: ReusedStore, table: str, statement: str) -> None:
    mesh = Mesh(there.store)
    await mesh.configure()
    await mesh.create(new("a"))
    rows = await mesh.history(), await mesh.changes()
    edit = statement.format(table)
    if table == "changes":
        edit = edit.replace("namespace = 'x'", "reason = 'x'")
    with pytest.raises(asyncpg.RestrictViolationError, match="is append-only"):
        await fetch(there.url, edit)
    assert (await mesh.history(), await mesh.changes()) == rows


@pytest.mark.parametrize(
    ("column", "value", "constraint"),
    [
        ("shard_id", "'white space'", "ck_shards_shard_id_format"),
        ("shard_id", "E'a\\n'", "ck_shards_shard_id_format"),
        ("owner_node_id", "''", "ck_shards_owner_node_id_format"),
        ("owner_node_id", "repeat('x', 129)", "ck_shards_owner_node_id_format"),
        ("leader_id", "'@x'", "ck_shards_leader_id_format"),
        ("locality_hint", "'a/b/c'", "ck_shards_locality_hint_format"),
        ("capacity_hint", "-1", "ck_shards_capacity_hint_finite"),
        ("capacity_hint", "'NaN'", "ck_shards_capacity_hint_finite"),
        ("capacity_hint", "'Infinity'", "ck_shards_capacity_hint_finite"),
        ("status", "'active'", "ck_shards_status_known"),
        ("owner_epoch", "version + 1", "ck_shards_owner_epoch_range"),
        ("checksum", "'x'", "ck_shards_checksum_format"),
        ("change_ticket", "''", "ck_shards_change_ticket_length"),
        ("pinned_by", "'alice'", "ck_shards_pin_complete"),
        ("anti_affinity_group", "'a b'", "ck_shards_anti_affinity_group_format"),
        ("namespace", "'nowhere'", "fk_shards_namespace_namespaces"),
    ],
)
async def test_the_database_keeps_each_rule_by_itself(
    there: ReusedStore, column: str, value: str, constraint: str
) -> None:
    mesh = Mesh(there.store)
    await mesh.configure()
    await mesh.create(new("a"))
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await fetch(there.url, f"UPDATE shards SET {column} = {value}")  # noqa: S608 - literals above
    assert refused.value.constraint_name == constraint


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rebalance_plan_documents SET document = '{}'",
        "DELETE FROM rebalance_plan_documents",
        "TRUNCATE rebalance_plan_documents CASCADE",
        "UPDATE rebalance_plans SET move_count = 0",
        "UPDATE rebalance_plans SET status = status",
        "UPDATE rebalance_plans SET status = 'REJECTED'",
        "UPDATE rebalance_plans SET status = 'APPLIED'",
        "UPDATE rebalance_plans SET latest_change_id = 1",
        "UPDATE rebalance_plans SET status = 'APPLYING', latest_change_id = latest_change_id + 1",
        "UPDATE rebalance_plans SET status = 'STOPPED', latest_change_id = latest_change_id + 1",
        "UPDATE rebalance_plans SET status = 'REJECTED', latest_change_id = latest_change_id + 1, moves_made = 1",
        "UPDATE rebalance_plans SET status = 'REJECTED', latest_change_id = 9, approved_change_id = 1",
        "UPDATE rebalance_plans SET status = 'REJECTED', latest_change_id = latest_change_id + 1, expires_at = now()",
        "UPDATE rebalance_plans SET status = 'REJECTED', latest_change_id = latest_change_id + 1, kind = 'ROLLBACK'",
        "UPDATE rebalance_plans SET id = id",
        "UPDATE rebalance_plans SET change_id = change_id, namespaces = '{}', shard_count = 9, base_revision = 9",
        "DELETE FROM rebalance_plans",
        "TRUNCATE rebalance_plans",
        "TRUNCATE changes CASCADE",
    ],
)
async def test_a_plan_stays_as_it_was_reviewed(there: ReusedStore, statement: str) -> None:
    mesh = PlannedMesh(there.store)
    await mesh.configure()
    plan = (await mesh.plan_to_rescue(2)).plan
    with pytest.raises(asyncpg.RestrictViolationError, match="is append-only"):
        await fetch(there.url, statement)
    assert await there.store.plans.get(plan.id) == plan


@pytest.mark.parametrize(
    "values",
    [
        "status = 'PROPOSED', latest_change_id = latest_change_id + 1",
        "status = 'REJECTED', latest_change_id = latest_change_id + 1",
        "latest_change_id = 1",
        "status = 'APPLIED'",
        "move_count = 0",
    ],
)
async def test_a_plan_that_was_applied_stays_so(there: ReusedStore, values: str) -> None:
    mesh = PlannedMesh(there.store)
    await mesh.configure()
    plan = (await mesh.apply((await mesh.plan_to_rescue(2)).plan)).plan
    with pytest.raises(asyncpg.RestrictViolationError, match="is append-only"):
        await fetch(there.url, f"UPDATE rebalance_plans SET {values}")  # noqa: S608 - literals above
    assert await there.store.plans.get(plan.id) == plan


@pytest.mark.parametrize(
    ("forged", "problem"),
    [
        ("replace(document::text, 'node-a', 'node-b')::json", "its document is that of "),
        ("'{}'", "its document is that of "),
    ],
)
async def test_a_plan_that_was_edited_all_the_same_is_neither_shown_nor_applied(
    database_url: str, forged: str, problem: str
) -> None:
    async with open_store(database_url) as store:
        mesh = PlannedMesh(store)
        await mesh.configure()
        plan = (await mesh.plan_to_rescue(2)).plan
        before = await mesh.everything_kept()
        await unguarded(database_url, f"UPDATE rebalance_plan_documents SET document = {forged}")  # noqa: S608 - same
        with pytest.raises(PlanCorrupt, match=problem):
            await mesh.ask_to_apply(plan)
        with pytest.raises(PlanCorrupt, match=plan.id):
            await store.plans.proposal(plan.id)
        assert await mesh.everything_kept() == before


async def test_a_plan_of_a_later_version_is_not_applied_by_this_one(database_url: str) -> None:
    document = '{"format":"omnirelay.plan.v2"}'
    async with open_store(database_url) as store:
        mesh = PlannedMesh(store)
        await mesh.configure()
        plan = (await mesh.plan_to_rescue(2)).plan
        await unguarded(
            database_url,
            f"INSERT INTO rebalance_plan_documents VALUES ('{document_id(document)}', '{document}');"  # noqa: S608 - same
            f"UPDATE rebalance_plans SET id = '{document_id(document)}'",
        )
        with pytest.raises(PlanCorrupt, match=r"its format is 'omnirelay.plan.v2', and not omnirelay.plan.v1"):
            await mesh.ask_to_apply(replace(plan, id=document_id(document)))


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE nodes SET node_id = 'white space'", "ck_nodes_node_id_format"),
        ("UPDATE nodes SET region = 'eu/1'", "ck_nodes_region_format"),
        ("UPDATE nodes SET zone = ''", "ck_nodes_zone_format"),
        ("UPDATE nodes SET labels = '[]'", "ck_nodes_labels_object"),
        ("UPDATE nodes SET weight = 0", "ck_nodes_weight_range"),
        ("UPDATE nodes SET weight = 1048577", "ck_nodes_weight_range"),
        ("UPDATE nodes SET status = 'active'", "ck_nodes_status_known"),
        ("UPDATE nodes SET change_ticket = ''", "ck_nodes_change_ticket_length"),
        ("UPDATE nodes SET version = 0", "ck_nodes_version_positive"),
        ("UPDATE rebalance_plans SET status = 'EXPIRED'", "ck_rebalance_plans_status_known"),
        ("UPDATE rebalance_plans SET kind = 'OTHER'", "ck_rebalance_plans_kind_known"),
        ("UPDATE rebalance_plans SET status = 'APPLIED'", "ck_rebalance_plans_applied_complete"),
        ("UPDATE rebalance_plans SET status = 'APPLYING'", "ck_rebalance_plans_begun"),
        ("UPDATE rebalance_plans SET status = 'APPROVED'", "ck_rebalance_plans_approved_presence"),
        ("UPDATE rebalance_plans SET moves_made = 1", "ck_rebalance_plans_not_begun"),
        ("UPDATE rebalance_plans SET moves_made = 3", "ck_rebalance_plans_moves_made_range"),
        ("UPDATE rebalance_plans SET move_count = 3", "ck_rebalance_plans_move_count_range"),
        ("UPDATE rebalance_plan_documents SET id = 'x'", "ck_rebalance_plan_documents_id_format"),
        (
            "UPDATE rebalance_plans SET id = repeat('0', 32)",
            "fk_rebalance_plans_id_rebalance_plan_documents",
        ),
        ("UPDATE rebalance_plans SET latest_change_id = 99", "fk_rebalance_plans_latest_change_id_changes"),
        ("UPDATE rebalance_plans SET approved_change_id = 99", "fk_rebalance_plans_approved_change_id_changes"),
    ],
)
def test_the_database_keeps_the_rules_of_nodes_and_plans_by_itself(
    planned: str, databases: Databases, statement: str, constraint: str
) -> None:
    with databases.copy(planned) as url, pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        asyncio.run(unguarded(url, statement))
    assert refused.value.constraint_name == constraint
