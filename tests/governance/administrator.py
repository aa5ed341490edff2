"""Freezes come and go, and policies with them."""

from __future__ import annotations

from dataclasses import replace

from persistence.commands.namespaces import ConfigureNamespace
from tests.governance.deeds import Deed
from tests.governance.intents import Intent
from tests.governance.policies import random_freezes
from tests.governance.scenario import Scenario
from tests.governance.tally import Tally
from tests.support.mesh import because
from tests.support.planned_mesh import PlannedMesh


async def configure(mesh: PlannedMesh, scenario: Scenario, intent: Intent, tally: Tally) -> None:
    """What the administrator is about to do. No other operator configures namespaces, so it is never stale."""
    current = await mesh.namespace(intent.namespace)
    policy = current.policy
    match intent.deed:
        case Deed.FREEZE:
            policy = replace(policy, freezes=random_freezes(intent.random))
        case Deed.LIFT:
            policy = replace(policy, freezes=())
        case _:
            policy = replace(scenario.some_policy(intent.random), freezes=policy.freezes)
    change = because(str(intent.deed), actor=intent.actor)
    command = ConfigureNamespace(
        current.name, current.strategy, current.strategy_parameters, current.version, change, policy
    )
    tally.add(intent.deed, await mesh.execute(command))
