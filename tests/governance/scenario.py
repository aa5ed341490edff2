"""What a run consists of, and the mesh that it begins with."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from persistence.commands.shards import NewShard
from persistence.model.fields import MAX_SHARDS_PER_CHANGE
from persistence.model.policy import NamespacePolicy
from tests.governance.deeds import Deed
from tests.governance.policies import random_policy
from tests.support.mesh import because
from tests.support.planned_mesh import PlannedMesh

NODES: Final = tuple(f"node-{number}" for number in range(1, 9))
GROUP_SIZE: Final = 3
"""Shards of an anti-affinity group in the beginning: every other triple of neighbours is one."""

_STRATEGIES: Final = ("rendezvous", "ring", "locality")


@dataclass(frozen=True, slots=True)
class Scenario:
    """`operators` share `stores`, each with connections of its own, and work for `seconds` or until each has done
    `deeds`, whichever comes first; of all that operators can do, they do `only` some. The administrator acts once in
    `pause` deeds. All namespaces have `policy`; by default random ones that change. The same scenario gives the same
    intents; what is there when they are carried out is another matter.
    """

    seed: int
    seconds: float = 120.0
    deeds: int | None = None
    operators: int = 8
    stores: int = 4
    namespaces: int = 20
    shards: int = 2_000
    pause: int = 25
    only: Collection[Deed] = tuple(Deed)
    policy: NamespacePolicy | None = None

    @property
    def names(self) -> list[str]:
        return [f"ns-{number:02}" for number in range(self.namespaces)]

    def some_policy(self, random: Random) -> NamespacePolicy:
        """Without freezes."""
        return self.policy or random_policy(random)

    @property
    def shards_each(self) -> int:
        """In a namespace, in the beginning."""
        return self.shards // self.namespaces


async def prepare(scenario: Scenario, mesh: PlannedMesh) -> None:
    """Nodes, namespaces with policies, and their shards, as no strategy would place them."""
    random = Random(f"{scenario.seed} beginning")
    begin: dict[str, Any] = {"change_ticket": "CHG-0", "forced": "the beginning"}
    change = because("the beginning", actor="admin", **begin)
    for number, node in enumerate(NODES):
        await mesh.register(node, change=change, region="eu", zone="ab"[number % 2])
    for number, name in enumerate(scenario.names):
        strategy = _STRATEGIES[number % len(_STRATEGIES)]
        await mesh.configure(name, strategy=strategy, change=change, policy=scenario.some_policy(random))
    shards = list(_shards(scenario))
    for start in range(0, len(shards), MAX_SHARDS_PER_CHANGE):
        await mesh.create(*shards[start : start + MAX_SHARDS_PER_CHANGE], change=change)


def _shards(scenario: Scenario) -> Iterator[NewShard]:
    for name in scenario.names:
        for number in range(scenario.shards_each):
            triple = number // GROUP_SIZE
            group = None if triple % 2 else f"g{triple}"
            yield NewShard(name, f"s{number:04}", NODES[number % len(NODES)], anti_affinity_group=group)
