"""`omnirelay mesh shards watch`.

The place a `watch` has got to, kept in a file so that the next one goes on from there.
"""

import json
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click

from graph.cli.errors import Exit, Failure, failing
from graph.cli.options import server_options
from graph.cli.output import NOTHING, format_time, moved_percent, print_json, print_status, printable
from graph.cli.shards.shared import other_changes, owner_change, shard_name
from graph.client.address import Address
from graph.client.cache_file import replace_file
from graph.client.records import Json


@click.command("watch")
@click.option("--namespace", help="Only changes in this namespace.")
@click.option("--owner", multiple=True, help="Only shards this node owns, before or after. May be repeated.")
@click.option("--after", metavar="CURSOR", help="Everything after this cursor. By default from now on.")
@click.option(
    "--cursor-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keep the place in this file, and go on from there if it exists.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Stop after this many changes.")
@server_options
def watch_shards(
    *,
    namespace: str | None,
    owner: tuple[str, ...],
    after: str | None,
    cursor_file: Path | None,
    limit: int | None,
    server: Address,
    as_json: bool,
) -> Exit:
    """Print changes of shards as they are committed, until Ctrl-C.

    Resumes by itself when the connection is lost or the server restarts: nothing is missed, nothing comes twice.

    With --json JSON Lines: a change of a shard each, with the cursor to resume from.
    """
    # Imported here: no other command needs sockets, and their library takes a while to load.
    from graph.client.reconnect import follow  # noqa: PLC0415 - see above
    from graph.client.subscription import subscribe  # noqa: PLC0415 - see above

    start = (read_stored_cursor(cursor_file) if cursor_file else None) or StoredCursor(after)
    variables: Json = {"namespace": namespace, "filter": {"ownerNodeIds": owner}}

    def opened(cursor: str | None) -> Iterator[Json]:
        return subscribe(server, "WatchShards", variables | {"after": cursor})

    signal.signal(signal.SIGTERM, _interrupt)
    with failing(), closing(follow(server, opened, start.cursor, time.sleep, print_status)) as batches:
        watch = Watch(start, cursor_file, print_json if as_json else _print_line)
        watch.run(batches, limit)
    return Exit.OK


@dataclass(frozen=True, slots=True)
class StoredCursor:
    """`cursor` is where to resume. Changes up to and including `revision` were dealt with already.

    A cursor stands for a whole batch of changes; whoever stops in the middle of one resumes before it and leaves out
    what `revision` says.
    """

    cursor: str | None = None
    revision: int = 0


class Watch:
    """Shows changes and keeps the place: what was shown is behind it, whatever interrupts us."""

    def __init__(self, start: StoredCursor, file: Path | None, show: Callable[[Json], None]) -> None:
        self._place = start
        self._file = file
        self._show = show

    def run(self, batches: Iterable[Json], limit: int | None) -> None:
        """Until Ctrl-C, or until so many changes have been shown."""
        try:
            self._follow(batches, limit)
        except KeyboardInterrupt:
            pass
        finally:
            self._keep()
        if self._place.cursor is not None:
            print_status(f"Stopped after revision {self._place.revision}. To go on: --after {self._place.cursor}")

    def _follow(self, batches: Iterable[Json], limit: int | None) -> None:
        shown_so_far = 0
        for number, (diff, place) in enumerate(steps(batches, self._place)):
            if diff is not None:
                self._show({"cursor": place.cursor, **diff})
                shown_so_far += 1
            moved_on = place.cursor != self._place.cursor
            self._place = place
            if moved_on:
                self._keep()
            if shown_so_far == limit:
                return
            if number == 0:
                print_status("Watching. Ctrl-C stops.")

    def _keep(self) -> None:
        if self._file is not None and self._place.cursor is not None:
            write_stored_cursor(self._file, self._place)


def steps(batches: Iterable[Json], place: StoredCursor) -> Iterator[tuple[Json | None, StoredCursor]]:
    """Each change that is new after `place`, and the place once it has been dealt with; no change for a bookmark."""
    for batch in batches:
        new = [diff for diff in batch["diffs"] if int(diff["revision"]) > place.revision]
        for diff in new[:-1]:
            place = StoredCursor(place.cursor, int(diff["revision"]))
            yield diff, place
        place = StoredCursor(batch["cursor"], int(batch["revision"]))
        yield (new[-1] if new else None), place


def _print_line(diff: Json) -> None:
    change = diff["change"]
    others = other_changes(diff)
    ticket = f"[{printable(change['changeTicket'])}]" if change["changeTicket"] else ""
    words = [
        format_time(change["committedAt"]),
        f"revision {diff['revision']}",
        shard_name(diff),
        owner_change(diff),
        f"({diff['moveReason']}, {moved_percent(change)})" if diff["moveReason"] else "",
        "" if others == NOTHING else f"({others})",
        printable(change["actor"]),
        ticket,
        printable(change["reason"]),
    ]
    click.echo("  ".join(word for word in words if word))


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Whoever stops us politely gets the same as with Ctrl-C."""
    raise KeyboardInterrupt


def read_stored_cursor(path: Path) -> StoredCursor | None:
    """None if there is no file yet. Raises Failure for anything but a file that `write_stored_cursor` wrote."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        cursor, revision = document["cursor"], document["revision"]
        if isinstance(cursor, str) and isinstance(revision, int):
            return StoredCursor(cursor, revision)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failure(Exit.INVALID, f"The cursor file {path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError):
        pass
    raise Failure(
        Exit.INVALID,
        f"{path} is not a cursor file of watch.",
        ["Name another file, or remove this one to begin with what happens from now on."],
    )


def write_stored_cursor(path: Path, place: StoredCursor) -> None:
    """Replaces the file as a whole: whenever this process or the machine stops, the file is the old or the new one."""
    document = json.dumps({"cursor": place.cursor, "revision": place.revision})
    try:
        replace_file(path, f"{document}\n".encode())
    except OSError as error:
        raise Failure(Exit.INVALID, f"The cursor file {path} cannot be written: {error.strerror}.") from error
