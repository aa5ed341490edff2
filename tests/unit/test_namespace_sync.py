"""Namespaces follow the settings file."""

# ruff: noqa: ASYNC240 - a line in a temporary file; nothing else runs meanwhile

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from graph.server.namespace_sync import ACTOR, NamespaceSync, syncing_namespaces
from persistence.commands.command import Command
from persistence.commands.namespaces import ConfigureNamespace
from persistence.errors import SchemaOutOfDate, StoreError, StoreUnavailable, TransientConflict
from persistence.model.outcomes import Outcome
from persistence.model.policy import NamespacePolicy
from persistence.model.records import Namespace
from persistence.service.executor import CommandExecutor
from strategies.registry import Registry
from tests.reference.store import memory_store
from tests.support.fake_strategies import Mixed
from tests.support.mesh import Mesh

RING = '[namespaces.orders]\nstrategy = "ring"\nparameters = {virtualNodes = 64}\n'
LOCALITY = '[namespaces.orders]\nstrategy = "locality"\n'


@pytest.fixture
def mesh() -> Mesh:
    return Mesh(memory_store())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "omnirelay.toml"


def reconciler(file: Path, mesh: Mesh) -> NamespaceSync:
    return NamespaceSync(file, mesh.store.namespaces, mesh.writer, Registry())


async def orders(mesh: Mesh) -> Namespace:
    found = await mesh.store.namespaces.get("orders")
    assert found is not None
    return found


async def test_a_declared_namespace_is_created_and_audited(file: Path, mesh: Mesh) -> None:
    file.write_text(RING)
    async with syncing_namespaces(file, mesh.store.namespaces, mesh.writer, Registry()):
        found = await orders(mesh)
    assert (found.strategy, found.strategy_parameters, found.version) == ("ring", {"virtualNodes": 64}, 1)
    (change,) = await mesh.changes()
    assert (change.actor, change.reason) == (ACTOR, "declared in omnirelay.toml")


async def test_an_edit_of_the_file_is_followed_and_looking_again_writes_nothing(file: Path, mesh: Mesh) -> None:
    file.write_text(RING)
    following = reconciler(file, mesh)
    assert await following.look()
    file.write_text(LOCALITY)
    assert await following.look()
    assert await following.look()
    found = await orders(mesh)
    assert (found.strategy, found.strategy_parameters, found.version) == ("locality", {}, 2)


async def test_a_declared_policy_is_followed_and_one_that_is_not_declared_is_left_alone(file: Path, mesh: Mesh) -> None:
    file.write_text(RING + "[namespaces.orders.policy]\nwindowMoves = 40\n")
    following = reconciler(file, mesh)
    assert await following.look()
    assert ((await orders(mesh)).policy, (await orders(mesh)).version) == (NamespacePolicy(window_moves=40), 1)
    file.write_text(LOCALITY)
    assert await following.look()
    assert ((await orders(mesh)).policy, (await orders(mesh)).version) == (NamespacePolicy(window_moves=40), 2)
    file.write_text(LOCALITY + "[namespaces.orders.policy]\n")
    assert await following.look()
    assert ((await orders(mesh)).policy, (await orders(mesh)).version) == (NamespacePolicy(window_moves=40), 2)
    file.write_text('[namespaces.orders]\ndefaults = ["policy"]\n')
    assert await following.look()
    assert ((await orders(mesh)).policy, (await orders(mesh)).version) == (NamespacePolicy(), 3)


FROZEN = (
    RING + "[namespaces.orders.policy]\nwindowMoves = 40\nmoveBudgetPercent = 25\n"
    "[[namespaces.orders.policy.freezes]]\n"
    'begins = 2026-12-24T00:00:00Z\nends = 2027-01-02T00:00:00Z\nreason = "holidays"\n'
)


@pytest.mark.parametrize(
    "content", ["", "strategy = 'ring'\n", "parameters = {}\n", "parameters = {virtualNodes = 64}\n"]
)
async def test_a_field_that_the_file_leaves_out_stays_as_it_is(file: Path, mesh: Mesh, content: str) -> None:
    file.write_text(FROZEN)
    assert await reconciler(file, mesh).look()
    before = await orders(mesh)
    file.write_text(f"[namespaces.orders]\n{content}[namespaces.orders.policy]\nwindowMoves = 41\n")
    assert await reconciler(file, mesh).look()
    after = await orders(mesh)
    assert after.configuration == replace(before.configuration, policy=replace(before.policy, window_moves=41))
    assert (len(after.policy.freezes), after.policy.move_budget_percent) == (1, 25)


async def test_a_declared_list_of_freezes_is_the_list_and_an_empty_one_thaws(file: Path, mesh: Mesh) -> None:
    file.write_text(FROZEN)
    await reconciler(file, mesh).look()
    file.write_text("[namespaces.orders.policy]\nfreezes = []\n")
    assert await reconciler(file, mesh).look()
    assert (await orders(mesh)).policy == NamespacePolicy(window_moves=40, move_budget_percent=25)


@pytest.mark.parametrize(
    ("defaults", "policy", "parameters"),
    [
        ('["policy.windowMoves"]', NamespacePolicy(move_budget_percent=25), {"virtualNodes": 64}),
        ('["policy"]', NamespacePolicy(), {"virtualNodes": 64}),
        ('["parameters"]', NamespacePolicy(window_moves=40, move_budget_percent=25), {}),
        ('["parameters.virtualNodes", "policy"]', NamespacePolicy(), {}),
    ],
)
async def test_a_field_goes_back_to_its_default_by_name(
    file: Path, mesh: Mesh, defaults: str, policy: NamespacePolicy, parameters: dict[str, object]
) -> None:
    file.write_text(FROZEN.partition("[[")[0])
    await reconciler(file, mesh).look()
    file.write_text(f"[namespaces.orders]\ndefaults = {defaults}\n")
    assert await reconciler(file, mesh).look()
    found = await orders(mesh)
    assert (found.strategy, found.policy, found.strategy_parameters) == ("ring", policy, parameters)


async def test_another_strategy_keeps_the_parameters_that_it_takes_as_well(file: Path, mesh: Mesh) -> None:
    file.write_text('[namespaces.orders]\nstrategy = "ring"\nparameters = {virtualNodes = 64, maxShardsPerNode = 9}\n')
    await reconciler(file, mesh).look()
    file.write_text(LOCALITY)
    assert await reconciler(file, mesh).look()
    assert (await orders(mesh)).strategy_parameters == {"maxShardsPerNode": 9}
    file.write_text('[namespaces.orders]\ndefaults = ["strategy"]\n')
    assert await reconciler(file, mesh).look()
    assert (await orders(mesh)).configuration.strategy == "rendezvous"


async def test_a_freeze_taken_out_of_the_file_is_warned_of_once_because_it_stays(
    file: Path, mesh: Mesh, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(FROZEN)
    following = reconciler(file, mesh)
    await following.look()
    file.write_text(FROZEN.partition("[[")[0].replace("windowMoves = 40\n", ""))
    assert await following.look()
    assert await following.look()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert ["policy.freezes" in warnings[0], "policy.windowMoves" in warnings[1], len(warnings)] == [True, True, 2]
    assert 'defaults = ["policy.freezes"]' in warnings[0]
    file.write_text('[namespaces.orders]\ndefaults = ["policy"]\n')
    assert await following.look()
    assert (await orders(mesh)).policy == NamespacePolicy()


async def test_the_other_settings_of_the_file_do_not_matter(file: Path, mesh: Mesh) -> None:
    """This address needs keys, which are in a variable of the server's."""
    file.write_text('host = "192.0.2.1"\nauth_issuer = "issuer"\nauth_secret = "short"\n' + RING)
    assert await reconciler(file, mesh).look()
    assert (await orders(mesh)).strategy == "ring"


async def test_what_the_store_already_holds_is_not_written_again(file: Path, mesh: Mesh) -> None:
    file.write_text(RING)
    assert await reconciler(file, mesh).look()
    assert await reconciler(file, mesh).look()
    assert len(await mesh.changes()) == 1


async def test_a_namespace_that_the_file_no_longer_names_is_left_alone(file: Path, mesh: Mesh) -> None:
    file.write_text(RING)
    following = reconciler(file, mesh)
    await following.look()
    file.write_text("")
    assert await following.look()
    assert (await orders(mesh)).strategy == "ring"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[namespaces.orders\n", "not TOML"),
        ('[namespaces.orders]\nstrategi = "ring"\n', "namespaces.orders.strategi"),
        ('[namespaces.orders]\nstrategy = "rings"\n', "did you mean ring?"),
        ('[namespaces.orders]\ndefaults = ["policy.windowMove"]\n', "did you mean policy.windowMoves?"),
        ('[namespaces.orders]\nstrategy = "ring"\ndefaults = ["strategy"]\n', "strategy is declared as well"),
        ('[namespace.orders]\nstrategy = "ring"\n', "namespace ("),
        ('[namespaces.orders]\nstrategy = "ring"\nparameters = {virtualNode = 3}\n', "did you mean virtualNodes?"),
    ],
)
async def test_a_file_that_cannot_be_used_is_complained_of_once_and_changes_nothing(
    file: Path, mesh: Mesh, caplog: pytest.LogCaptureFixture, content: str, complaint: str
) -> None:
    file.write_text(RING)
    following = reconciler(file, mesh)
    await following.look()
    file.write_text(content)
    with caplog.at_level(logging.ERROR):
        assert await following.look()
        assert await following.look()
    (record,) = caplog.records
    assert complaint in record.getMessage()
    assert (await orders(mesh)).version == 1


async def test_one_refused_namespace_does_not_hold_up_the_others(
    file: Path, mesh: Mesh, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text('[namespaces.bad]\nstrategy = "rings"\n' + RING)
    with caplog.at_level(logging.ERROR):
        await reconciler(file, mesh).look()
    assert (await orders(mesh)).strategy == "ring"
    assert "namespaces.bad" in caplog.text


async def test_a_file_that_is_gone_leaves_everything_as_it_is(
    file: Path, mesh: Mesh, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(RING)
    following = reconciler(file, mesh)
    await following.look()
    file.unlink()
    with caplog.at_level(logging.ERROR):
        assert await following.look()
        assert await following.look()
    assert len(caplog.records) == 1
    file.write_text(LOCALITY)
    assert await following.look()
    assert (await orders(mesh)).strategy == "locality"


class Failing(CommandExecutor):
    """Fails for the namespaces it has errors for."""

    def __init__(self, mesh: Mesh, **errors: Exception) -> None:
        super().__init__(mesh.store.unit_of_work)
        self.errors = errors

    async def execute(self, command: Command) -> Outcome:
        assert isinstance(command, ConfigureNamespace)
        if command.name in self.errors:
            raise self.errors[command.name]
        return await super().execute(command)


@pytest.mark.parametrize("error", [StoreUnavailable("the database is away"), TransientConflict("a deadlock")])
async def test_what_may_pass_is_tried_again(
    file: Path, mesh: Mesh, caplog: pytest.LogCaptureFixture, error: StoreError
) -> None:
    file.write_text('[namespaces.bad]\nstrategy = "rings"\n' + RING)
    writer = Failing(mesh, orders=error)
    following = NamespaceSync(file, mesh.store.namespaces, writer, Registry())
    assert not await following.look()
    assert not await following.look()
    refusals = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert ["namespaces.bad" in record.getMessage() for record in refusals] == [True]
    writer.errors.clear()
    assert await following.look()
    assert (await orders(mesh)).strategy == "ring"


@pytest.mark.parametrize("error", [SchemaOutOfDate("run omnirelay db upgrade"), ZeroDivisionError("a defect")])
async def test_what_does_not_pass_is_logged_once_for_each_state_of_the_file(
    file: Path, mesh: Mesh, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    bad = '[namespaces.bad]\nstrategy = "ring"\n'
    file.write_text(bad + RING)
    following = NamespaceSync(file, mesh.store.namespaces, Failing(mesh, bad=error), Registry())
    assert await following.look()
    assert await following.look()
    assert (await orders(mesh)).strategy == "ring"
    assert len(caplog.records) == 1
    file.write_text(bad)
    assert await following.look()
    assert [(record.levelno, "namespaces.bad" in record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, True)
    ] * 2


async def test_another_version_of_the_algorithm_is_brought_about(file: Path, mesh: Mesh) -> None:
    class Newer(Mixed):
        algorithm_version = 2

    file.write_text('[namespaces.orders]\nstrategy = "mixed"\nparameters = {depth = 4}\n')
    for plug_in in (Mixed(), Newer()):
        strategies = Registry([plug_in])
        writer = CommandExecutor(mesh.store.unit_of_work, strategies)
        assert await NamespaceSync(file, mesh.store.namespaces, writer, strategies).look()
        found = await orders(mesh)
        assert (found.algorithm_version, found.version) == (plug_in.algorithm_version, plug_in.algorithm_version)


async def test_a_declared_policy_alone_keeps_the_version_of_the_algorithm(file: Path, mesh: Mesh) -> None:
    class Newer(Mixed):
        algorithm_version = 2

    looks = (
        (Mixed(), 'strategy = "mixed"\n', (1, 1)),
        (Newer(), "policy = {ticketRequired = true}\n", (1, 2)),
        (Newer(), 'strategy = "mixed"\npolicy = {ticketRequired = false}\n', (2, 4)),
    )
    for plug_in, declaration, expected in looks:
        file.write_text(f"[namespaces.orders]\n{declaration}")
        strategies = Registry([plug_in])
        writer = CommandExecutor(mesh.store.unit_of_work, strategies)
        sync = NamespaceSync(file, mesh.store.namespaces, writer, strategies)
        while not await sync.look():
            pass
        found = await orders(mesh)
        assert (found.algorithm_version, found.version) == expected
