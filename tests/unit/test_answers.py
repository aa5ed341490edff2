"""How much of answers is kept, and for how long."""

from __future__ import annotations

import pytest

from graph.auth.principal import Scope
from graph.http.answers import LONGEST_ANSWER, LONGEST_REQUEST, Answers

READ = frozenset({Scope.READ})
NONE: frozenset[Scope] = frozenset()


def test_an_answer_is_found_by_its_request_and_the_scopes_of_its_caller() -> None:
    answers = Answers[bool]()
    answers.put(b"a", READ, b"1", lambda: True)
    assert answers.get(b"a", READ) == b"1"
    assert answers.get(b"a", NONE) is None
    assert answers.get(b"b", READ) is None


def test_an_answer_that_does_not_stand_is_not_given_and_may_be_replaced() -> None:
    answers = Answers[bool]()
    stands = [True]
    answers.put(b"a", READ, b"1", lambda: stands[0])
    stands[0] = False
    assert answers.get(b"a", READ) is None
    answers.put(b"a", READ, b"two", lambda: True)
    assert answers.get(b"a", READ) == b"two"
    size = answers.size
    answers.put(b"a", READ, b"one", lambda: True)
    assert answers.size == size


def test_what_is_large_is_not_kept() -> None:
    answers = Answers[bool]()
    answers.put(b"a" * (LONGEST_REQUEST + 1), READ, b"1", lambda: True)
    answers.put(b"a", READ, b"1" * (LONGEST_ANSWER + 1), lambda: True)
    assert answers.size == 0
    assert answers.get(b"a", READ) is None


@pytest.mark.parametrize("length", [10, 1_000, 20_000])
def test_memory_is_bounded_and_what_is_used_stays(length: int) -> None:
    answers = Answers[bool](limit=200_000)
    for number in range(2_000):
        answers.put(str(number).encode(), READ, b"x" * length, lambda: True)
        answers.put(b"used", READ, b"y", lambda: True) if number == 0 else None
        assert answers.get(b"used", READ) == b"y"
        assert answers.size <= 200_000 + 2 * (length + 1_000)
    assert answers.get(b"1999", READ) == b"x" * length
    assert answers.get(b"1", READ) is None


def test_as_many_are_found_as_there_is_room_for_whatever_came_before() -> None:
    answers = Answers[bool](limit=200_000)
    for number in range(500):
        answers.put(str(number).encode(), READ, b"before", lambda: True)
    used = [str(number).encode() for number in range(1_000, 1_200)]
    for body in used:
        answers.put(body, READ, b"x", lambda: True)
    for _ in range(3):
        assert all(answers.get(body, READ) == b"x" for body in used)
    assert answers.size <= 200_000


def test_what_is_asked_once_makes_room_before_what_is_asked_again() -> None:
    answers = Answers[bool](limit=200_000)
    used = [str(number).encode() for number in range(100)]
    for body in used:
        answers.put(body, READ, b"x", lambda: True)
    for number in range(1_000, 3_000):
        answers.put(str(number).encode(), READ, b"once", lambda: True)
        assert answers.get(used[number % 100], READ) == b"x"
    assert answers.size <= 200_000
