"""The schedule of faults."""

from __future__ import annotations

import pytest

from tests.chaos.faults import ONCE, FaultKind, schedule


@pytest.mark.parametrize("seed", range(20))
def test_a_seed_replays(seed: int) -> None:
    assert schedule(seed, 10_000, 3) == schedule(seed, 10_000, 3)


@pytest.mark.parametrize("seed", range(20))
def test_every_fault_comes_once_a_round_before_the_run_ends(seed: int) -> None:
    faults = schedule(seed, 10_000, 3)
    counts = {kind: sum(fault.kind is kind for fault in faults) for kind in FaultKind}
    assert counts == {kind: 1 if kind in ONCE else 3 for kind in FaultKind}
    assert [fault.after for fault in faults] == sorted(fault.after for fault in faults)
    assert 0 < faults[0].after < faults[-1].after < 9_500


def test_another_seed_has_another_order() -> None:
    orders = {tuple(fault.kind for fault in schedule(seed, 10_000, 1)) for seed in range(10)}
    assert len(orders) == 10


def test_no_faults_make_no_schedule() -> None:
    assert schedule(1, 10_000, 1, kinds=()) == []
