"""The place a `watch` has got to, kept in a file so that the next one goes on from there."""

import json
from dataclasses import dataclass
from pathlib import Path

from graph.cli.exits import Exit, Failure
from graph.client.whole_file import replace_file


@dataclass(frozen=True, slots=True)
class Place:
    """`cursor` is where to resume. Changes up to and including `revision` were dealt with already.

    A cursor stands for a whole batch of changes; whoever stops in the middle of one resumes before it and leaves out
    what `revision` says.
    """

    cursor: str | None = None
    revision: int = 0


def read_place(path: Path) -> Place | None:
    """None if there is no file yet. Raises Failure for anything but a file that `write_place` wrote."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        cursor, revision = document["cursor"], document["revision"]
        if isinstance(cursor, str) and isinstance(revision, int):
            return Place(cursor, revision)
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


def write_place(path: Path, place: Place) -> None:
    """Replaces the file as a whole: whenever this process or the machine stops, the file is the old or the new one."""
    document = json.dumps({"cursor": place.cursor, "revision": place.revision})
    try:
        replace_file(path, f"{document}\n".encode())
    except OSError as error:
        raise Failure(Exit.INVALID, f"The cursor file {path} cannot be written: {error.strerror}.") from error
