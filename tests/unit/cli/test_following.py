"""A watch goes on from the last cursor it dealt with, whatever happens to its connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from graph.cli.errors import Exit, Failure, failing
from graph.cli.shards.watch import StoredCursor, Watch, new_changes, read_stored_cursor, write_stored_cursor
from graph.client.address import read_address
from graph.client.errors import ConnectionLost
from graph.client.reconnect import delay, follow

ADDRESS: Final = read_address("http://127.0.0.1:8080")
Json = dict[str, Any]


def batch(*revisions: int, upto: int | None = None) -> Json:
    """A batch with a change at each revision, that leads up to the last of them."""
    end = upto or revisions[-1]
    return {
        "cursor": f"c{end}",
        "revision": str(end),
        "diffs": [{"revision": str(revision), "shardId": f"s{revision}"} for revision in revisions],
    }


AFTER = "--after {}".format


class Stream:
    """A server: each request it answers with the next of its answers, and remembers the cursor."""

    def __init__(self, *answers: list[Json | Exception]) -> None:
        self._answers = iter(answers)
        self.cursors: list[str | None] = []
        self.pauses: list[float] = []
        self.told: list[str] = []

    def open(self, cursor: str | None) -> Iterator[Json]:
        self.cursors.append(cursor)
        for event in next(self._answers):
            if isinstance(event, Exception):
                raise event
            yield event

    def followed(self, cursor: str | None = None) -> Iterator[Json]:
        return follow(ADDRESS, self.open, cursor, self.pauses.append, self.told.append)


def lost() -> ConnectionLost:
    return ConnectionLost("the server closed the connection (1012)")


def test_a_lost_connection_is_opened_again_after_the_last_cursor() -> None:
    stream = Stream([batch(1), batch(2, 3), lost()], [lost()], [lost()], [batch(4)])
    batches = stream.followed()
    assert [next(batches)["cursor"] for _ in range(3)] == ["c1", "c3", "c4"]
    assert stream.cursors == [None, "c3", "c3", "c3"]


def test_a_lost_connection_is_reported_once_and_its_return_once() -> None:
    stream = Stream([batch(1), lost()], [lost()], [batch(2), lost()], [batch(3)])
    batches = stream.followed()
    for _ in range(3):
        next(batches)
    assert stream.told == [
        "Interrupted: the server closed the connection (1012). Trying again; nothing will be missed.",
        "Connected again, after 2 attempts.",
        "Interrupted: the server closed the connection (1012). Trying again; nothing will be missed.",
        "Connected again.",
    ]


def test_waiting_grows_while_it_fails_and_begins_anew_once_it_succeeded() -> None:
    stream = Stream([batch(1), lost()], [lost()], [lost()], [batch(2), lost()], [batch(3)])
    batches = stream.followed()
    for _ in range(3):
        next(batches)
    first, second, third, anew = stream.pauses
    assert first < 0.25 < second < 0.5 < third < 1
    assert anew < 0.25


def test_waiting_is_spread_and_bounded() -> None:
    assert [delay(failures, 0.0) for failures in range(8)] == [0.125, 0.25, 0.5, 1, 2, 4, 7.5, 7.5]
    assert delay(0, 1.0) == 0.25
    assert delay(10_000, 1.0) == 15


def test_a_server_that_never_was_there_is_a_failure() -> None:
    stream = Stream([lost()])
    with pytest.raises(Failure) as refused, failing():
        next(stream.followed())
    assert refused.value.exit is Exit.UNAVAILABLE


def test_a_refusal_is_not_tried_again() -> None:
    stream = Stream([batch(1), lost()], [Failure(Exit.POSITION, "COMPACTED: gone")])
    batches = stream.followed()
    next(batches)
    with pytest.raises(Failure, match="COMPACTED"):
        next(batches)


def test_a_batch_counts_once_the_next_is_asked_for() -> None:
    stream = Stream([batch(1), batch(2)])
    batches = stream.followed("c0")
    next(batches)
    batches.close()  # type: ignore[attr-defined]  # a generator, typed as what its user needs to know
    assert stream.cursors == ["c0"]


def test_the_position_moves_to_the_cursor_with_the_last_change_of_a_batch() -> None:
    positions = [position for _, position in new_changes([batch(3, 4, 5)], StoredCursor("c2", 2))]
    assert positions == [StoredCursor("c2", 3), StoredCursor("c2", 4), StoredCursor("c5", 5)]


def test_a_bookmark_moves_the_position_without_a_change() -> None:
    assert list(new_changes([batch(upto=9)], StoredCursor("c2", 2))) == [(None, StoredCursor("c9", 9))]


def test_changes_that_were_dealt_with_are_left_out() -> None:
    resumed = new_changes([batch(3, 4, 5)], StoredCursor("c2", 4))
    assert [(diff and diff["revision"], position) for diff, position in resumed] == [("5", StoredCursor("c5", 5))]


def test_a_watch_stopped_within_a_batch_goes_on_with_the_next_change(tmp_path: Path) -> None:
    file = tmp_path / "cursor"
    first = shown_by(StoredCursor("c2", 2), file, [batch(3, 4, 5)], limit=2)
    position = read_stored_cursor(file)
    assert position == StoredCursor("c2", 4)
    second = shown_by(position, file, [batch(3, 4, 5), batch(6)], limit=None)
    assert first + second == ["3", "4", "5", "6"]
    assert read_stored_cursor(file) == StoredCursor("c6", 6)


def test_a_change_whose_output_broke_is_shown_again(tmp_path: Path) -> None:
    file = tmp_path / "cursor"
    write_stored_cursor(file, StoredCursor("c2", 2))

    def broken(diff: Json) -> None:
        if diff["revision"] == "4":
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        Watch(StoredCursor("c2", 2), file, broken, AFTER).run([batch(3, 4)], None)
    assert read_stored_cursor(file) == StoredCursor("c2", 3)


def test_ctrl_c_stores_the_position_and_prints_where_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cursor"

    def interrupted() -> Iterator[Json]:
        yield batch(3)
        raise KeyboardInterrupt

    Watch(StoredCursor("c2", 2), file, lambda _: None, AFTER).run(interrupted(), None)
    assert read_stored_cursor(file) == StoredCursor("c3", 3)
    assert capsys.readouterr().err.endswith("Stopped after revision 3. To go on: --after c3\n")


def test_every_line_carries_the_cursor_to_resume_from() -> None:
    cursors: list[str | None] = []
    watch = Watch(StoredCursor("c2", 2), None, lambda diff: cursors.append(diff["cursor"]), AFTER)
    watch.run([batch(3, 4), batch(5)], None)
    assert cursors == ["c2", "c4", "c5"]


def test_no_cursor_file_is_no_position(tmp_path: Path) -> None:
    assert read_stored_cursor(tmp_path / "cursor") is None


@pytest.mark.parametrize("text", ["", "c5", "[]", "{}", '{"cursor": 5, "revision": 5}', '{"cursor": "c5"}', "\x00"])
def test_a_file_that_is_something_else_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    file = tmp_path / "cursor"
    file.write_text(text)
    with pytest.raises(Failure, match="is not a cursor file") as refused:
        read_stored_cursor(file)
    assert refused.value.exit is Exit.INVALID
    assert file.read_text() == text


def test_a_cursor_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "cursor"
    write_stored_cursor(file, StoredCursor("c1", 1))
    before = file.stat().st_ino
    write_stored_cursor(file, StoredCursor("c2", 2))
    assert file.stat().st_ino != before
    assert json.loads(file.read_text()) == {"cursor": "c2", "revision": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["cursor"]


def test_a_cursor_file_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cannot be written"):
        write_stored_cursor(tmp_path / "missing" / "cursor", StoredCursor("c1", 1))


def shown_by(start: StoredCursor, file: Path, batches: list[Json], limit: int | None) -> list[str]:
    revisions: list[str] = []
    show: Callable[[Json], None] = lambda diff: revisions.append(diff["revision"])  # noqa: E731 - typed
    Watch(start, file, show, AFTER).run(batches, limit)
    return revisions
