"""`omnirelay mesh shards watch`, and the file with its position in the stream, from which the next one goes on."""

import json
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

import click

from graph.cli.errors import ApiClient, Exit, Failure, failing
from graph.cli.lookups import require_owners
from graph.cli.options import server_options
from graph.cli.output import NOTHING, format_time, moved_percent, print_json, print_status, printable
from graph.cli.shards.shared import other_changes, owner_change, shard_name
from graph.cli.suggestions import suggest_retry
from graph.client.address import Address
from graph.client.cache_file import replace_file
from graph.client.records import Json

_LOOK_SECONDS: Final = 1.0
"""Between two looks at whether there is a namespace."""


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
@click.option("--allow-missing", is_flag=True, help="Wait for a namespace that there is not yet, and take any owner.")
@server_options
def watch_shards(
    *,
    namespace: str | None,
    owner: tuple[str, ...],
    after: str | None,
    cursor_file: Path | None,
    limit: int | None,
    allow_missing: bool,
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
        if allow_missing and namespace is not None:
            cursor = _once_there(server, namespace, cursor)
        yield from subscribe(server, "WatchShards", variables | {"after": cursor})

    def suggest(cursor: str) -> str:
        # What the file has comes before --after.
        return suggest_retry() if cursor_file else suggest_retry(after=cursor)

    if owner and not allow_missing:
        with ApiClient(server) as api:
            require_owners(api, owner)
    signal.signal(signal.SIGTERM, _interrupt)
    with failing(), closing(follow(server, opened, start.cursor, time.sleep, print_status)) as batches:
        watch = Watch(start, cursor_file, print_json if as_json else _print_line, suggest)
        watch.run(batches, limit)
    return Exit.OK


def _once_there(server: Address, namespace: str, cursor: str | None) -> str | None:
    """Waits for the namespace. Where to follow from then: the cursor, or where the stream was when the wait began, so
    that the first of its shards are not missed."""
    waiting = False
    while True:
        try:
            with ApiClient(server) as api:
                newest = api.execute("StreamHead")["head"]["cursor"]
                if api.execute("NamespaceDetails", {"name": namespace})["namespace"] is not None:
                    return cursor
                cursor = cursor or newest
        except Failure as failure:
            if failure.exit is not Exit.UNAVAILABLE or not waiting:
                raise
        if not waiting:
            print_status(f"There is no namespace {printable(namespace)} yet: waiting for it. Ctrl-C stops.")
        waiting = True
        time.sleep(_LOOK_SECONDS)


@dataclass(frozen=True, slots=True)
class StoredCursor:
    """`cursor` is where to resume. Changes up to and including `revision` were dealt with already.

    A cursor stands for a whole batch of changes: a watch that stops in the middle of one resumes before it, and leaves
    out changes up to `revision`.
    """

    cursor: str | None = None
    revision: int = 0


class Watch:
    """Prints changes and stores the position: what was printed is behind it, whatever interrupts the command."""

    def __init__(
        self,
        start: StoredCursor,
        file: Path | None,
        write: Callable[[Json], None],
        suggest: Callable[[str], str],
    ) -> None:
        """`suggest` makes the command that goes on from a cursor."""
        self._position = start
        self._file = file
        self._write = write
        self._suggest = suggest

    def run(self, batches: Iterable[Json], limit: int | None) -> None:
        """Until Ctrl-C, or until so many changes have been printed."""
        try:
            self._follow(batches, limit)
        except KeyboardInterrupt:
            pass
        finally:
            self._store()
        if self._position.cursor is not None:
            command = self._suggest(self._position.cursor)
            print_status(f"Stopped after revision {self._position.revision}. To go on: {command}")

    def _follow(self, batches: Iterable[Json], limit: int | None) -> None:
        printed = 0
        for number, (diff, position) in enumerate(new_changes(batches, self._position)):
            if diff is not None:
                self._write({"cursor": position.cursor, **diff})
                printed += 1
            moved_on = position.cursor != self._position.cursor
            self._position = position
            if moved_on:
                self._store()
            if printed == limit:
                return
            if number == 0:
                print_status("Watching. Ctrl-C stops.")

    def _store(self) -> None:
        if self._file is not None and self._position.cursor is not None:
            write_stored_cursor(self._file, self._position)


def new_changes(batches: Iterable[Json], position: StoredCursor) -> Iterator[tuple[Json | None, StoredCursor]]:
    """Each change after `position`, and the position once it has been dealt with; no change for a bookmark."""
    for batch in batches:
        new = [diff for diff in batch["diffs"] if int(diff["revision"]) > position.revision]
        for diff in new[:-1]:
            position = StoredCursor(position.cursor, int(diff["revision"]))
            yield diff, position
        position = StoredCursor(batch["cursor"], int(batch["revision"]))
        yield (new[-1] if new else None), position


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
    """SIGTERM ends a watch as Ctrl-C does."""
    raise KeyboardInterrupt


def read_stored_cursor(path: Path) -> StoredCursor | None:
    """Null if there is no file yet. Raises Failure for anything but a file that `write_stored_cursor` wrote."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        cursor, revision = document["cursor"], document["revision"]
        if isinstance(cursor, str) and isinstance(revision, int):
            return StoredCursor(cursor, revision)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Failure(Exit.INVALID, f"The cursor file {path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise Failure(
        Exit.INVALID,
        f"{path} is not a cursor file of watch.",
        ["Name another file, or remove this one to begin with what happens from now on."],
    )


def write_stored_cursor(path: Path, position: StoredCursor) -> None:
    """Raises Failure; the file is the old or the new one, whenever this process or the machine stops."""
    document = json.dumps({"cursor": position.cursor, "revision": position.revision})
    try:
        replace_file(path, f"{document}\n".encode())
    except OSError as error:
        raise Failure(Exit.INVALID, f"The cursor file {path} cannot be written: {error.strerror}.") from error
