"""The harness itself: a write path that lets one rule slip is found out, by that rule."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from persistence.model.policy import NamespacePolicy
from tests.governance.deeds import Deed
from tests.governance.harness import open_meshes, work
from tests.governance.mutants import Mutation, mutated
from tests.governance.scenario import Scenario, prepare
from tests.governance.verdict import judge
from tests.support.length import rounds
from tests.support.mesh import ANY_MOVES

ROUNDS = 20
NEVER = 10_000


@dataclass(frozen=True)
class Case:
    """What operators do, under which policy, until the rule `named` is found broken."""

    named: str
    only: tuple[Deed, ...]
    policy: NamespacePolicy = ANY_MOVES
    pause: int = NEVER

    @property
    def scenario(self) -> Scenario:
        """So few shards that all operators conflict."""
        return Scenario(
            1, stores=2, namespaces=1, shards=20, deeds=10, pause=self.pause, only=self.only, policy=self.policy
        )


WINDOW = NamespacePolicy(move_budget_percent=100, window_seconds=1, window_moves=4)
APPROVAL = NamespacePolicy(move_budget_percent=100, approval_required=True)
CASES = {
    Mutation.CONDITIONS_DROPPED: Case("FREEZE", (Deed.MOVE, Deed.EDIT), pause=2),
    Mutation.MOVES_NOT_GUARDED: Case("WINDOW_BUDGET", (Deed.MOVE,), WINDOW),
    Mutation.GROUPS_NOT_GUARDED: Case("ANTI_AFFINITY", (Deed.MOVE, Deed.REGROUP)),
    Mutation.APPROVAL_NOT_ASKED: Case("APPROVAL_REQUIRED", (Deed.PLAN, Deed.APPLY), APPROVAL),
    Mutation.OWN_APPROVAL_TAKEN: Case("SELF_APPROVAL", (Deed.PLAN, Deed.APPROVE), APPROVAL),
    Mutation.PINS_NOT_LOOKED_AT: Case("PIN", (Deed.MOVE, Deed.PIN)),
}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("mutation", list(Mutation)[: rounds(len(Mutation), 2)])
async def test_a_rule_that_is_not_kept_is_noticed(mutation: Mutation, database_url: str) -> None:
    """Chance decides how soon, so there are several rounds."""
    case = CASES[mutation]
    findings: list[str] = []
    async with open_meshes(database_url, case.scenario.stores) as meshes:
        await prepare(case.scenario, meshes[0])
        for number in range(ROUNDS):
            with mutated(mutation):
                await work(replace(case.scenario, seed=number), meshes)
            if findings := await judge(database_url, meshes[0]):
                break
    assert findings, "nothing was noticed"
    assert all(case.named in finding for finding in findings), findings
