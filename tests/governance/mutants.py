"""Stores whose write path lets one rule slip, for the test that the harness notices.

What is taken away is what keeps the rule, not what counts it afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from typing import Any, Final
from unittest.mock import patch

from sqlalchemy import ARRAY, BigInteger, TextClause, bindparam, text

from persistence.writes import Conditions


class Mutation(StrEnum):
    CONDITIONS_DROPPED = "conditions dropped"
    MOVERS_NOT_SERIALIZED = "movers not serialized"
    GROUPS_NOT_LOCKED = "groups not locked"
    APPROVAL_NOT_ASKED = "approval not asked"
    OWN_APPROVAL_TAKEN = "own approval taken"
    PINS_NOT_LOOKED_AT = "pins not looked at"


def _nothing(*_: object) -> tuple[()]:
    return ()


def _no_conditions(*_: object) -> Conditions:
    return Conditions()


def _unlocked(parameter: str) -> TextClause:
    """A statement that takes what the locking one does, and locks nothing."""
    return text(f"SELECT CAST(:{parameter} AS int8[])").bindparams(bindparam(parameter, type_=ARRAY(BigInteger)))


_REPLACED: Final[Mapping[Mutation, Mapping[str, Any]]] = {
    Mutation.CONDITIONS_DROPPED: {
        "persistence.decisions.shards.conditions": _no_conditions,
        "persistence.decisions.plans.conditions": _no_conditions,
    },
    Mutation.MOVERS_NOT_SERIALIZED: {"persistence.postgres.policy_facts._SERIALIZE": _unlocked("keys")},
    Mutation.GROUPS_NOT_LOCKED: {"persistence.postgres.circumstances._LOCK_GROUPS": _unlocked("locks")},
    Mutation.APPROVAL_NOT_ASKED: {"persistence.decisions.plans.missing_approval": _nothing},
    Mutation.OWN_APPROVAL_TAKEN: {"persistence.decisions.plans.self_approval": _nothing},
    Mutation.PINS_NOT_LOOKED_AT: {"persistence.decisions.shards.broken_pins": _nothing},
}


@contextmanager
def mutated(mutation: Mutation) -> Iterator[None]:
    """All stores of this process, meanwhile."""
    with ExitStack() as stack:
        for name, replacement in _REPLACED[mutation].items():
            stack.enter_context(patch(name, replacement))
        yield
