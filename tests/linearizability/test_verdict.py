"""The verdict itself: what answers alone give away, what history does, and a message that can be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.linearizability.comparison import Finding, Flaw
from tests.linearizability.history import History, Row
from tests.linearizability.journal import (
    NO_ANSWER,
    Acknowledged,
    Attempt,
    Journal,
    ReadMode,
    ReadRecord,
    Refused,
    Told,
    WriteRecord,
)
from tests.linearizability.register import Seen, WriteKind
from tests.linearizability.verdict import judge

MS = 1_000_000
A1, A2, B1 = Told(Seen(1, "one", 1), 1), Told(Seen(2, "two", 2), 2), Told(Seen(1, "four", 1), 4)


def write(
    number: int,
    shard: str,
    kind: WriteKind,
    told: Told | None,
    *,
    owner: str | None = None,
    sent: int | None = None,
    server: int = 0,
    ending: str | None = None,
) -> WriteRecord:
    """Number 1 was sent at 10 ms and answered 5 ms later, and so on. Its revision and its change have its number."""
    begun = (10 * number if sent is None else sent) * MS
    record = WriteRecord(number, shard, kind, None, owner, f"key {number}")
    record.attempts.append(Attempt(server, begun, begun + 5 * MS, ending))
    if told is not None and ending is None:
        record.answer = Acknowledged(number, number, told, replayed=False)
    return record


def read(
    shard: str,
    told: Told | None,
    sent: int,
    mode: ReadMode = ReadMode.LATEST,
    least: int | None = None,
    stamp: int | None = None,
    server: int = 0,
) -> ReadRecord:
    return ReadRecord(9, server, mode, least, sent * MS, (sent + 1) * MS, {shard: told}, stamp)


def row(number: int, shard: str, version: int, epoch: int, before: Told | None, told: Told | None) -> Row:
    return Row(number, number, f"key {number}", shard, version, epoch, before and before.seen, told)


ROWS = (
    row(1, "a", 1, 1, None, A1),
    row(2, "a", 2, 2, A1, A2),
    row(3, "a", 3, 2, A2, None),
    row(4, "b", 1, 1, None, B1),
)


def journal() -> Journal:
    """a is created, updated and deleted, b is created; each is read in between."""
    update = replace(write(2, "a", WriteKind.UPDATE, A2, owner="two", server=1), expected=1)
    deletion = replace(write(3, "a", WriteKind.DELETE, A2), expected=2)
    return Journal(
        writes=[
            write(1, "a", WriteKind.CREATE, A1, owner="one"),
            update,
            deletion,
            write(4, "b", WriteKind.CREATE, B1, owner="four"),
        ],
        reads=[
            read("a", A1, 16, least=1, stamp=1),
            read("a", A1, 26, ReadMode.DEFAULT),
            read("a", A2, 27, least=2, stamp=2),
            read("a", None, 46, least=4, stamp=4),
            read("b", B1, 48, ReadMode.DEFAULT),
        ],
    )


def test_nothing_is_found_where_every_promise_was_kept() -> None:
    assert judge(journal(), History(ROWS)) == []


def lose_an_answer(kept: Journal) -> None:
    kept.writes[1].answer = None
    kept.writes[1].attempts[:] = [kept.writes[1].attempts[0]._replace(ending=NO_ANSWER)]


def retry_elsewhere(kept: Journal) -> None:
    first = kept.writes[1].attempts[0]
    kept.writes[1].attempts.insert(0, Attempt(0, first.sent - 9 * MS, first.sent - 8 * MS, NO_ANSWER))


def refuse_rightly(kept: Journal) -> None:
    refused = replace(write(5, "a", WriteKind.UPDATE, None, owner="five", sent=23), expected=1)
    kept.writes.append(replace(refused, answer=Refused(A2)))


@pytest.mark.parametrize("change", [lose_an_answer, retry_elsewhere, refuse_rightly])
def test_what_is_allowed_is_not_found_either(change: Callable[[Journal], None]) -> None:
    kept = journal()
    change(kept)
    assert judge(kept, History(ROWS)) == []


def stale_read(kept: Journal) -> None:
    kept.reads.append(read("a", A1, 29, least=2))


def stale_by_a_revision_of_another_shard(kept: Journal) -> None:
    """The answers alone do not show it: that revision is of b."""
    kept.reads.append(read("a", A2, 47, ReadMode.SESSION, least=4))


def future_read(kept: Journal) -> None:
    kept.reads.append(read("b", B1, 20, ReadMode.DEFAULT, server=2))


def never_so(kept: Journal) -> None:
    kept.reads.append(read("a", Told(Seen(2, "other", 2), 2), 29))


def wrong_stamp(kept: Journal) -> None:
    kept.reads.append(read("a", A2, 50, ReadMode.DEFAULT, stamp=3, server=2))


def went_back(kept: Journal) -> None:
    kept.reads += [read("a", A2, 36, ReadMode.DEFAULT, server=2), read("a", A1, 38, ReadMode.DEFAULT, server=2)]


def own_write_not_seen(kept: Journal) -> None:
    kept.reads.append(read("a", A1, 29, ReadMode.DEFAULT, server=1))


def session_went_back(kept: Journal) -> None:
    kept.reads += [
        read("a", A2, 36, ReadMode.SESSION, least=0, stamp=2, server=1),
        read("a", A1, 38, ReadMode.SESSION, least=0, stamp=1, server=2),
    ]


def acknowledged_and_lost(kept: Journal) -> None:
    kept.writes.append(write(5, "c", WriteKind.CREATE, Told(Seen(1, "five", 1), 5), owner="five"))


def answered_otherwise(kept: Journal) -> None:
    kept.writes[3].answer = Acknowledged(4, 5, B1, replayed=False)


def nobody_asked(kept: Journal) -> None:
    del kept.writes[3], kept.reads[4]


def written_after_all(kept: Journal) -> None:
    kept.writes[3] = write(4, "b", WriteKind.CREATE, None, owner="four", ending="TRANSIENT_CONFLICT")
    del kept.reads[4]


def refused_and_written(kept: Journal) -> None:
    kept.writes[3].answer = Refused(None)
    del kept.reads[4]


def refused_by_what_is_not_there(kept: Journal) -> None:
    refused = replace(write(5, "a", WriteKind.UPDATE, None, owner="five", sent=50), expected=1)
    kept.writes.append(replace(refused, answer=Refused(A2)))


def out_of_order(kept: Journal) -> None:
    """b had been created before a was."""
    kept.writes[3] = write(4, "b", WriteKind.CREATE, B1, owner="four", sent=1)


@pytest.mark.parametrize(
    ("change", "flaws"),
    [
        (stale_read, {Flaw.NOT_LINEARIZABLE, Flaw.SERVER_VIEW, Flaw.STALE, Flaw.WENT_BACK}),
        (stale_by_a_revision_of_another_shard, {Flaw.STALE}),
        (future_read, {Flaw.SERVER_VIEW, Flaw.NEVER_SO}),
        (never_so, {Flaw.NOT_LINEARIZABLE, Flaw.NEVER_SO}),
        (wrong_stamp, {Flaw.STAMP}),
        (went_back, {Flaw.SERVER_VIEW, Flaw.WENT_BACK}),
        (own_write_not_seen, {Flaw.SERVER_VIEW, Flaw.WENT_BACK}),
        (session_went_back, {Flaw.SESSION_VIEW}),
        (acknowledged_and_lost, {Flaw.LOST_WRITE}),
        (answered_otherwise, {Flaw.LOST_WRITE}),
        (nobody_asked, {Flaw.UNASKED_WRITE}),
        (written_after_all, {Flaw.UNTRUE_ERROR}),
        (refused_and_written, {Flaw.UNTRUE_REFUSAL}),
        (refused_by_what_is_not_there, {Flaw.NOT_LINEARIZABLE, Flaw.UNTRUE_REFUSAL}),
        (out_of_order, {Flaw.ORDER}),
    ],
)
def test_a_broken_promise_is_named(change: Callable[[Journal], None], flaws: set[Flaw]) -> None:
    kept = journal()
    change(kept)
    found = {finding.flaw for finding in judge(kept, History(ROWS))}
    assert found >= flaws, found


@pytest.mark.parametrize(
    "rows",
    [
        (*ROWS, row(5, "a", 3, 3, None, Told(Seen(3, "five", 3), 5))),
        (*ROWS, row(5, "a", 4, 2, None, Told(Seen(4, "five", 2), 5))),
        (*ROWS, row(5, "b", 2, 1, B1, Told(Seen(2, "five", 1), 5))),
        (*ROWS, row(5, "b", 2, 2, A1, Told(Seen(2, "five", 2), 5))),
    ],
    ids=["version reused", "epoch reused", "epoch not raised", "not what was there"],
)
def test_history_is_not_believed_either(rows: tuple[Row, ...]) -> None:
    kept = journal()
    kept.writes.append(replace(write(5, rows[-1].shard, WriteKind.CREATE, None, ending=NO_ANSWER)))
    assert Flaw.HISTORY in {finding.flaw for finding in judge(kept, History(rows))}


def test_one_request_that_is_two_changes_is_named() -> None:
    again = row(5, "c", 1, 1, None, Told(Seen(1, "four", 1), 5))._replace(key="key 4")
    assert Flaw.DOUBLE_WRITE in {finding.flaw for finding in judge(journal(), History([*ROWS, again]))}


def test_the_proof_can_be_read() -> None:
    kept = journal()
    lose_an_answer(kept)
    kept.reads[:] = [read("a", A2, 26, server=1), read("a", A1, 28)]
    (finding,) = (each for each in judge(kept, History(ROWS)) if each.flaw is Flaw.NOT_LINEARIZABLE)
    assert finding == Finding(
        Flaw.NOT_LINEARIZABLE,
        "a, no order explains\n"
        "         0.0 ..        1.0 ms  client 9: latest read -> server 1: "
        "a: version 2, owner two, epoch 2, revision 2\n"
        "         2.0 ..        3.0 ms  client 9: latest read -> server 0: "
        "a: version 1, owner one, epoch 1, revision 1\n"
        "  at any time after they began, or never:\n"
        "       -16.0 ..            ms  client 1: create a, owner one (key 1) -> "
        "server 0: change 1, revision 1, version 1, owner one, epoch 1\n"
        "        -6.0 ..            ms  client 2: update a expecting version 1, owner two (key 2) -> "
        "server 1: no answer",
    )
