"""Every attack once, while a few subscribers follow: a short run of what `make siege` does at length. How long others
wait is judged there: here other tests have the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.logs import tracebacks
from tests.siege.attacks import ATTACKS, unexpected
from tests.siege.harness import LOG, Plan, run


@pytest.mark.timeout(240)
async def test_nothing_is_lost_and_each_attack_is_answered_what_it_may_be(tmp_path: Path) -> None:
    plan = Plan(
        list(ATTACKS),
        seconds=4.0,
        quiet_seconds=0.5,
        warming_seconds=0.0,
        giving_back_seconds=0.0,
        subscribers=6,
        changes_a_second=10.0,
        shards=2_000,
    )
    outcome = await run(plan, tmp_path)
    assert not tracebacks([tmp_path / LOG])
    assert not outcome.findings, [str(finding) for finding in outcome.findings[:5]]
    assert outcome.answers.keys() == ATTACKS.keys()
    assert all(outcome.answers.values())
    assert not unexpected(outcome.answers)
    assert outcome.changes
    assert outcome.deliveries >= outcome.changes


def test_an_answer_that_is_not_allowed_is_named() -> None:
    answers = {"64 MB header": {"closed": 3, "200 data": 2}, "200 headers": {"silent": 1}}
    assert unexpected(answers) == [
        "64 MB header: answered 200 data (2), allowed are 431 HEADERS_TOO_LARGE, closed",
        "200 headers: answered silent (1), allowed are 431 HEADERS_TOO_LARGE",
    ]
