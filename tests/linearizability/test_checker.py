"""The checker itself: right histories, wrong ones, and a search that tries everything to hold it against."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.linearizability.checker import Operation, is_linearizable, refuted_at, shortest_refuted
from tests.linearizability.register import (
    REGISTER,
    Action,
    Read,
    Refusal,
    Register,
    Seen,
    Write,
    WriteKind,
    forgetful,
    written,
)
from tests.support.length import rounds

A1, A2, B2, A3, B3 = Seen(1, "a", 1), Seen(2, "a", 1), Seen(2, "b", 2), Seen(3, "a", 3), Seen(3, "b", 2)
CREATE_A = Write(WriteKind.CREATE, None, "a", A1)
TO_B = Write(WriteKind.UPDATE, 1, "b", B2)
STAY_A = Write(WriteKind.UPDATE, 1, "a", A2)
DELETE_1 = Write(WriteKind.DELETE, 1, None, A1)


def at(invoked: int, returned: int | None, action: Action) -> Operation[Action]:
    return Operation(action, invoked, returned)


def lost(invoked: int, write: Write) -> Operation[Action]:
    """Its answer never came."""
    return Operation(forgetful(write), invoked, None)


RIGHT = {
    "one after the other": [at(1, 2, CREATE_A), at(3, 4, TO_B), at(5, 6, Read(B2))],
    "a read during a write sees it": [at(1, 2, CREATE_A), at(3, 9, TO_B), at(4, 5, Read(B2))],
    "a read during a write does not see it": [at(1, 2, CREATE_A), at(3, 9, TO_B), at(4, 5, Read(A1))],
    "two reads during a write": [at(1, 2, CREATE_A), at(3, 9, TO_B), at(4, 5, Read(A1)), at(6, 7, Read(B2))],
    "who comes second is told": [at(1, 2, CREATE_A), at(3, 5, TO_B), at(4, 6, Refusal(1, B2))],
    "a lost write took effect": [at(1, 2, CREATE_A), lost(3, TO_B), at(4, 5, Read(B2))],
    "a lost write did not": [at(1, 2, CREATE_A), lost(3, TO_B), at(4, 5, STAY_A), at(6, 7, Read(A2))],
    "a lost write took effect late": [
        at(1, 2, CREATE_A),
        lost(3, TO_B),
        at(4, 5, Read(A1)),
        at(6, 7, Read(B2)),
    ],
    "a lost deletion, and a lost creation": [
        at(1, 2, CREATE_A),
        lost(3, DELETE_1),
        lost(4, Write(WriteKind.CREATE, None, "b")),
        at(5, 6, Read(None)),
        at(7, 8, Read(Seen(3, "b", 2))),
    ],
    "versions go on after deletion": [
        at(1, 2, CREATE_A),
        at(3, 4, DELETE_1),
        at(5, 6, Write(WriteKind.CREATE, None, "a", Seen(3, "a", 2))),
    ],
    "an update of what is absent is refused": [at(1, 2, Refusal(1, None)), at(3, 4, Read(None))],
}
WRONG = {
    "a stale read": [at(1, 2, CREATE_A), at(3, 4, TO_B), at(5, 6, Read(A1))],
    "a read that goes back": [at(1, 2, CREATE_A), at(3, 9, TO_B), at(4, 5, Read(B2)), at(6, 7, Read(A1))],
    "a read from the future": [at(1, 2, CREATE_A), at(3, 4, Read(B2)), at(5, 6, TO_B)],
    "a read of what was never written": [at(1, 2, CREATE_A), at(3, 4, Read(Seen(1, "z", 1)))],
    "two winners for one version": [at(1, 2, CREATE_A), at(3, 5, TO_B), at(4, 6, STAY_A)],
    "a lost update": [at(1, 2, CREATE_A), at(3, 4, TO_B), at(5, 6, Write(WriteKind.UPDATE, 2, "a", A2))],
    "an update over another one": [at(1, 2, CREATE_A), at(3, 4, TO_B), at(5, 6, Write(WriteKind.UPDATE, 1, "a", A3))],
    "an acknowledged write that is gone": [at(1, 2, CREATE_A), at(3, 4, TO_B), at(5, 6, STAY_A)],
    "an acknowledged creation that is gone": [at(1, 2, CREATE_A), at(3, 4, Read(None))],
    "version reused after deletion": [
        at(1, 2, CREATE_A),
        at(3, 4, DELETE_1),
        at(5, 6, Write(WriteKind.CREATE, None, "b", Seen(1, "b", 2))),
    ],
    "epoch reused after deletion": [
        at(1, 2, CREATE_A),
        at(3, 4, DELETE_1),
        at(5, 6, Write(WriteKind.CREATE, None, "b", Seen(3, "b", 1))),
    ],
    "an epoch that grows though the owner stays": [
        at(1, 2, CREATE_A),
        at(3, 4, Write(WriteKind.UPDATE, 1, "a", Seen(2, "a", 2))),
    ],
    "an epoch that stays though the owner changes": [
        at(1, 2, CREATE_A),
        at(3, 4, Write(WriteKind.UPDATE, 1, "b", Seen(2, "b", 1))),
    ],
    "two creations": [at(1, 3, CREATE_A), at(2, 4, Write(WriteKind.CREATE, None, "b", Seen(1, "b", 1)))],
    "a deletion that is not seen": [at(1, 2, CREATE_A), at(3, 4, DELETE_1), at(5, 6, Read(A1))],
    "a lost write that takes effect twice": [
        at(1, 2, CREATE_A),
        lost(3, TO_B),
        at(4, 5, Read(B2)),
        at(6, 7, Write(WriteKind.UPDATE, 2, "a", A3)),
        at(8, 9, Read(Seen(4, "b", 4))),
    ],
    "a lost write that comes and goes": [at(1, 2, CREATE_A), lost(3, TO_B), at(4, 5, Read(B2)), at(6, 7, Read(A1))],
    "a lost write that took effect before it was sent": [at(1, 2, CREATE_A), at(3, 4, Read(B2)), lost(5, TO_B)],
    "a refusal without a reason": [at(1, 2, CREATE_A), at(3, 4, Refusal(1, A1))],
    "a refusal by what was there before": [at(1, 2, CREATE_A), at(3, 4, TO_B), at(5, 6, Refusal(2, A1))],
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_history_is_accepted(name: str) -> None:
    assert is_linearizable(REGISTER, RIGHT[name])
    assert _brute_force(RIGHT[name])


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_history_is_refused(name: str) -> None:
    assert not is_linearizable(REGISTER, WRONG[name])
    assert not _brute_force(WRONG[name])


def test_the_proof_is_what_cannot_be_left_out() -> None:
    """Of a long history two operations remain: one that shows a version, and the read that missed it later."""
    history = [at(1, 2, CREATE_A)]
    for version in range(1, 60):
        owner = "ab"[version % 2]
        told = Seen(version + 1, owner, version + 1)
        history.append(at(10 * version, 10 * version + 5, Write(WriteKind.UPDATE, version, owner, told)))
        history.append(at(10 * version + 6, 10 * version + 7, Read(told)))
    stale = at(358, 359, Read(Seen(35, "a", 35)))
    proof = shortest_refuted(REGISTER, [*history, stale])
    demanding = [operation for operation in proof if operation.returned is not None]
    # The read that saw version 36 proves as much as the write that made it, and either will do.
    assert len(demanding) == 2
    assert demanding[-1] == stale
    assert {_version(operation.action) for operation in demanding} == {35, 36}


# Histories of a register that is one: `moves` are drawn, and carried out by clients whose operations overlap.


@st.composite
def simulated(draw: st.DrawFn, most: int = 40) -> list[Operation[Action]]:
    """What clients of a linearizable register see."""
    return simulate(random.Random(draw(st.integers(0, 2**32))), draw(st.integers(1, most)), draw(st.integers(1, 6)))


def simulate(randomness: random.Random, count: int, clients: int) -> list[Operation[Action]]:
    """Each operation takes effect at a time of its own between invocation and return. One in six is never answered;
    half of these take effect, and that may be late."""
    free = [0] * clients
    drafts = []
    for _ in range(count):
        client = randomness.randrange(clients)
        invoked = free[client] + randomness.randrange(1, 30)
        effect = invoked + randomness.randrange(1, 30)
        returned = effect + randomness.randrange(1, 30)
        free[client] = returned
        answered = randomness.random() > 1 / 6
        if not answered:
            effect += randomness.randrange(100)
        drafts.append((effect, invoked, returned, answered))
    state, known, history = Register(), 0, list[Operation[Action]]()
    for _, invoked, returned, answered in sorted(drafts):
        intent = _intent(randomness, known)
        if intent is None:
            action: Action = Read(state.seen)
        elif not answered:
            action = intent
            if randomness.random() < 0.5:
                state = written(state, intent) or state
        elif (after := written(state, intent)) is None:
            action = Refusal(intent.expected, state.seen)
        else:
            action = replace(intent, answer=state.seen if intent.kind is WriteKind.DELETE else after.seen)
            state = after
        known = state.version if answered else known
        history.append(at(invoked, returned if answered else None, action))
    randomness.shuffle(history)
    return history


def _intent(randomness: random.Random, known: int) -> Write | None:
    """Mostly of the newest version any client has seen, now and then of one before or after; null is to read."""
    if randomness.random() < 0.4:
        return None
    expected = max(1, known + randomness.choice((0, 0, 0, -1, 1)))
    kind = randomness.choice((WriteKind.UPDATE, WriteKind.UPDATE, WriteKind.UPDATE, *WriteKind))
    owner = None if kind is WriteKind.DELETE else randomness.choice("abc")
    return Write(kind, None if kind is WriteKind.CREATE else expected, owner)


@settings(max_examples=rounds(2_000, 150))
@given(simulated())
def test_what_a_register_answers_is_accepted(history: list[Operation[Action]]) -> None:
    assert is_linearizable(REGISTER, history)


@settings(max_examples=rounds(2_000, 150))
@given(simulated(), st.data())
def test_what_no_register_answers_is_refused(history: list[Operation[Action]], data: st.DataObject) -> None:
    """One more operation, which contradicts an acknowledged write: that write again, its version with another owner, a
    read after it of what was there before, or a read before it of what it made."""
    acknowledged = [
        operation
        for operation in history
        if isinstance(operation.action, Write) and operation.action.answer and operation.action.owner
    ]
    if not acknowledged:
        return
    chosen = data.draw(st.sampled_from(acknowledged))
    assert isinstance(chosen.action, Write)
    assert chosen.action.answer is not None
    assert chosen.returned is not None
    told, late = chosen.action.answer, max(each.returned or each.invoked for each in history)
    wrong = data.draw(
        st.sampled_from(
            [
                replace(chosen, invoked=late + 1, returned=late + 2),
                replace(chosen, action=replace(chosen.action, owner="z", answer=told._replace(owner="z"))),
                at(late + 1, late + 2, Read(told._replace(version=told.version - 1))),
                at(chosen.invoked - 2, chosen.invoked - 1, Read(told)),
                at(late + 1, late + 2, Read(told._replace(owner_epoch=told.owner_epoch + 1))),
            ]
        )
    )
    assert not is_linearizable(REGISTER, [*history, wrong])
    assert not is_linearizable(REGISTER, shortest_refuted(REGISTER, [*history, wrong]))


_FEW = st.sampled_from([A1, A2, B2, A3, B3])
_ACTIONS: st.SearchStrategy[Action] = st.one_of(
    st.builds(Read, st.none() | _FEW),
    st.builds(Refusal, st.none() | st.integers(1, 2), st.none() | _FEW),
    st.builds(Write, st.just(WriteKind.CREATE), st.none(), st.sampled_from("ab"), st.none() | _FEW),
    st.builds(Write, st.just(WriteKind.UPDATE), st.integers(1, 2), st.sampled_from("ab"), st.none() | _FEW),
    st.builds(Write, st.just(WriteKind.DELETE), st.integers(1, 2), st.none(), st.none() | _FEW),
)


@st.composite
def small(draw: st.DrawFn) -> list[Operation[Action]]:
    """Up to six operations, seen by a client or not."""
    begun: list[Operation[Action]] = [at(0, 1, CREATE_A)] if draw(st.booleans()) else []
    for action in draw(st.lists(_ACTIONS, max_size=5)):
        invoked = draw(st.integers(0, 12))
        returned = None if draw(st.integers(0, 3)) == 0 else invoked + draw(st.integers(1, 6))
        begun.append(at(invoked, returned, action))
    return begun


@settings(max_examples=rounds(8_000, 400))
@given(small())
def test_a_small_history_is_judged_as_by_trying_everything(history: list[Operation[Action]]) -> None:
    assert is_linearizable(REGISTER, history) == _brute_force(history)


@settings(max_examples=rounds(2_000, 150))
@given(st.integers(0, 2**32))
def test_a_small_history_of_a_register_is_judged_as_by_trying_everything(seed: int) -> None:
    """Of these most are right; one answer is exchanged for another one's, so that many are not."""
    randomness = random.Random(seed)
    history = simulate(randomness, 6, 3)
    assert is_linearizable(REGISTER, history)
    assert _brute_force(history)
    one, other = randomness.sample(range(6), 2)
    exchanged = [*history]
    exchanged[one] = replace(history[one], action=history[other].action)
    exchanged[other] = replace(history[other], action=history[one].action)
    assert is_linearizable(REGISTER, exchanged) == _brute_force(exchanged)


@settings(max_examples=rounds(2_000, 100))
@given(small())
def test_the_return_that_is_named_is_the_first_that_cannot_be_explained(history: list[Operation[Action]]) -> None:
    refuted = refuted_at(REGISTER, history)
    if refuted is None:
        return
    assert refuted.returned is not None
    until = refuted.returned

    def known(end: int) -> list[Operation[Action]]:
        """What is known by then."""
        return [
            each if each.returned is not None and each.returned <= end else replace(each, returned=None)
            for each in history
            if each.invoked <= end
        ]

    assert not _brute_force(known(until))
    assert _brute_force(known(until - 1))


def test_a_long_history_is_checked_in_no_time() -> None:
    """4,000 operations of 12 clients, of which one in six was never answered."""
    assert is_linearizable(REGISTER, simulate(random.Random(1), 4_000, 12))


def _brute_force(history: Sequence[Operation[Action]]) -> bool:
    """Every order of everything that returned and of any of what did not."""
    return any(_explains(order) for order in _orders(history))


def _orders(history: Sequence[Operation[Action]]) -> Iterable[Sequence[Operation[Action]]]:
    must = [operation for operation in history if operation.returned is not None]
    may = [operation for operation in history if operation.returned is None]
    for chosen in range(2 ** len(may)):
        taken = [operation for place, operation in enumerate(may) if chosen >> place & 1]
        yield from permutations([*must, *taken])


def _explains(order: Sequence[Operation[Action]]) -> bool:
    state: Register | None = Register()
    for place, operation in enumerate(order):
        if any(later.returned is not None and later.returned < operation.invoked for later in order[place + 1 :]):
            return False
        state = None if state is None else REGISTER.step(state, operation.action)
        if state is None:
            return False
    return True


def _version(action: Action) -> int | None:
    seen = action.answer if isinstance(action, Write) else action.seen
    return None if seen is None else seen.version
