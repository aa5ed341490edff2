"""Operators and freezes at random: a short run of what `make governance` does for two minutes."""

from __future__ import annotations

import pytest

from persistence.model.policy import PolicyRule
from tests.governance.harness import run
from tests.governance.intents import administrator_intent, operator_intent
from tests.governance.scenario import Scenario
from tests.support.length import rounds

SHORT = Scenario(seed=1, stores=2, namespaces=6, shards=300, deeds=rounds(300, 35), pause=12)


@pytest.mark.timeout(240)
async def test_no_rule_is_broken_whatever_operators_do_at_once(database_url: str) -> None:
    outcome = await run(SHORT, database_url)
    assert not outcome.findings, outcome.findings[:5]
    tally = outcome.figures.tally
    assert len(tally.refused) > len(PolicyRule) / 2, tally.refused
    assert tally.committed > 40
    assert tally.of("PlanApplied")


def test_a_seed_draws_the_same_intents() -> None:
    def drawn(seed: int) -> list[str]:
        scenario = Scenario(seed)
        intents = [operator_intent(scenario, number, step) for number in range(3) for step in range(20)]
        intents += [administrator_intent(scenario, step) for step in range(20)]
        return [f"{one.actor} {one.deed} {one.namespace} {one.place} {one.random.random()}" for one in intents]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
