"""What operators and the administrator are about to do: drawn from the seed alone, so that a replay draws the same."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from tests.governance.deeds import Deed
from tests.governance.scenario import Scenario

_OPERATORS: Final = {
    Deed.MOVE: 20,
    Deed.EDIT: 8,
    Deed.CREATE: 4,
    Deed.DELETE: 4,
    Deed.PIN: 5,
    Deed.UNPIN: 4,
    Deed.REGROUP: 4,
    Deed.PLAN: 12,
    Deed.APPROVE: 14,
    Deed.REJECT: 1,
    Deed.APPLY: 24,
    Deed.STOP: 2,
    Deed.ROLL_BACK: 4,
    Deed.CHANGE_NODE: 1,
}
"""How often, relative to each other."""
_ADMINISTRATOR: Final = {Deed.FREEZE: 5, Deed.LIFT: 3, Deed.REGULATE: 2}


@dataclass(frozen=True, slots=True)
class Intent:
    """`actor` wants to do `deed` in `namespace`, to `size` shards where it is about shards, from the one at `place` (0
    to 1) on. `random` decides among what is there."""

    actor: str
    deed: Deed
    namespace: str
    size: int
    place: float
    ticket: str | None
    forced: str | None
    random: Random


def operator_intent(scenario: Scenario, number: int, step: int) -> Intent:
    actor = f"operator-{number}"
    random = Random(f"{scenario.seed} {actor} {step}")
    likely = {deed: weight for deed, weight in _OPERATORS.items() if deed in scenario.only}
    (deed,) = random.choices(list(likely), list(likely.values()))
    return Intent(
        actor,
        deed,
        # Half of all deeds are about a few namespaces: operators must get into each other's way.
        random.choice(scenario.names[:3] if random.random() < 0.5 else scenario.names),
        random.choice([1, 1, 1, 2, 3, 12]),
        random.random() ** 2,
        random.choice(["CHG-1", "CHG-2", "CHG-3", "CHG-4", "INC-5", None]),
        "no other way" if random.random() < 0.05 else None,
        random,
    )


def administrator_intent(scenario: Scenario, step: int) -> Intent:
    random = Random(f"{scenario.seed} admin {step}")
    (deed,) = random.choices(list(_ADMINISTRATOR), list(_ADMINISTRATOR.values()))
    return Intent("admin", deed, random.choice(scenario.names), 1, 0.0, None, None, random)
