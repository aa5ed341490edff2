"""What verification takes for the configuration that a change made."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from persistence.codec.json_documents import write_policy
from persistence.model.policy import DEFAULT_POLICY
from persistence.postgres.audit.current_state import _differing_configuration

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NEWER = ("involuntaryMovesLimited", "ownersMustBeRegistered", "recurringFreezes")
OF_BEFORE = {name: value for name, value in write_policy(DEFAULT_POLICY).items() if name not in NEWER}


@pytest.mark.parametrize(
    ("policy", "differing"),
    [
        (DEFAULT_POLICY, []),
        (replace(DEFAULT_POLICY, owners_must_be_registered=True), ["policy"]),
        (replace(DEFAULT_POLICY, ticket_required=True), ["policy"]),
    ],
)
def test_rules_that_came_after_a_change_are_at_their_defaults(policy: object, differing: list[str]) -> None:
    details = json.dumps({"current": {"name": "billing", "policy": OF_BEFORE}})
    actual = {"name": "billing", "policy": write_policy(policy)}  # type: ignore[arg-type]
    assert _differing_configuration(details, actual, NOW, NOW) == differing


def test_a_policy_that_is_none_is_found() -> None:
    details = json.dumps({"current": {"name": "billing", "policy": {"ticketRequired": True}}})
    assert _differing_configuration(details, {"name": "billing"}, NOW, NOW) == ["configuration"]
