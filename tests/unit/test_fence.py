"""Which timeline a process refuses, alone and together with others."""

from __future__ import annotations

import logging
import multiprocessing

import pytest

from persistence.errors import Fenced
from persistence.postgres.database import Fence

SYSTEM, OTHER = "7301234567890123456", "7309876543210987654"


def test_a_newer_timeline_is_remembered_and_an_older_one_refused() -> None:
    fence = Fence()
    assert not fence.admit(SYSTEM, 1), "the first one is no promotion"
    assert not fence.admit(SYSTEM, 1)
    assert fence.admit(SYSTEM, 3)
    assert fence.newest(SYSTEM) == 3
    with pytest.raises(Fenced, match="is on timeline 1, and timeline 3 has been seen"):
        fence.admit(SYSTEM, 1)
    assert fence.newest(SYSTEM) == 3


def test_what_the_database_says_was_seen_counts_too() -> None:
    with pytest.raises(Fenced):
        Fence().admit(SYSTEM, 1, recorded=2)


def test_another_system_has_timelines_of_its_own() -> None:
    fence = Fence()
    fence.admit(SYSTEM, 5)
    assert not fence.admit(OTHER, 1)
    with pytest.raises(Fenced):
        fence.admit(SYSTEM, 4)


def test_an_old_primary_that_came_back_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr("persistence.postgres.database.monotonic", lambda: now)
    fence = Fence()
    fence.admit(SYSTEM, 2)

    def refuse() -> None:
        with pytest.raises(Fenced):
            fence.admit(SYSTEM, 1)

    for _ in range(3):
        refuse()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    fence.admit(SYSTEM, 2)
    refuse()
    assert len(caplog.records) == 1, "it is met with each heartbeat"
    now += 61
    refuse()
    assert len(caplog.records) == 2


def test_processes_that_share_a_word_share_what_they_have_seen() -> None:
    word = multiprocessing.get_context("spawn").RawValue("Q")
    server, worker = Fence(word), Fence(word)
    server.admit(SYSTEM, 2)
    assert worker.newest(SYSTEM) == 2
    assert worker.newest(OTHER) == 0
    with pytest.raises(Fenced):
        worker.admit(SYSTEM, 1)
    assert worker.admit(SYSTEM, 4)
    assert server.newest(SYSTEM) == 4
    assert not server.admit(OTHER, 1), "a database was put in place of the other one"
    assert server.newest(SYSTEM) == 2, "what it has seen itself"
