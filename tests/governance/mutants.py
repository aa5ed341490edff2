"""Stores whose write path lets one rule slip, for the test that the harness notices.

What is taken away is what keeps the rule, not what counts it afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from typing import Any, Final
from unittest.mock import patch

from persistence.commands.write_set import CommitConditions, WriteSet
from persistence.postgres import commit
from persistence.postgres.commit import Relied


class Mutation(StrEnum):
    CONDITIONS_DROPPED = "conditions dropped"
    MOVES_NOT_GUARDED = "moves not guarded"
    GROUPS_NOT_GUARDED = "groups not guarded"
    APPROVAL_NOT_ASKED = "approval not asked"
    OWN_APPROVAL_TAKEN = "own approval taken"
    PINS_NOT_LOOKED_AT = "pins not looked at"


def _nothing(*_: object) -> tuple[()]:
    return ()


def _no_conditions(*_: object) -> CommitConditions:
    return CommitConditions()


_GUARDS: Final = commit.guards


def _without(guard: str) -> Callable[[WriteSet, Relied], Mapping[str, Any]]:
    """What a commit re-checks, but for one thing."""

    def guards(write_set: WriteSet, relied: Relied) -> Mapping[str, Any]:
        return {name: value for name, value in _GUARDS(write_set, relied).items() if name != guard}

    return guards


_REPLACED: Final[Mapping[Mutation, Mapping[str, Any]]] = {
    Mutation.CONDITIONS_DROPPED: {
        "persistence.handlers.rules.policies.conditions": _no_conditions,
    },
    Mutation.MOVES_NOT_GUARDED: {"persistence.postgres.commit.guards": _without("voluntaryMovesLeft")},
    Mutation.GROUPS_NOT_GUARDED: {"persistence.postgres.commit.guards": _without("groups")},
    Mutation.APPROVAL_NOT_ASKED: {"persistence.handlers.plans.missing_approval": _nothing},
    Mutation.OWN_APPROVAL_TAKEN: {"persistence.handlers.plans.self_approval": _nothing},
    Mutation.PINS_NOT_LOOKED_AT: {"persistence.handlers.rules.policies.broken_pins": _nothing},
}


@contextmanager
def mutated(mutation: Mutation) -> Iterator[None]:
    """All stores of this process, meanwhile."""
    with ExitStack() as stack:
        for name, replacement in _REPLACED[mutation].items():
            stack.enter_context(patch(name, replacement))
        yield
