"""`omnirelay mesh audit export`, and the key that signs manifests of exports."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import click

from graph.cli.errors import Exit, Failure, PipeClosed
from graph.cli.lookups import unknown_namespace
from graph.cli.offline import run_on_database
from graph.cli.options import database_options
from graph.cli.output import pluralized, print_status, printable
from graph.cli.points_in_time import PAST_TIME, TIME, Time, require_order
from graph.cli.progress import progress_so_far
from graph.client.cache_file import replacing

if TYPE_CHECKING:
    from persistence.audit.export import Manifest, Write


_FILE = click.Path(dir_okay=False, path_type=Path)

MANIFEST_SUFFIX: Final = ".manifest.json"
"""Of the file beside a CSV."""

_ATTEMPTS: Final = 3
"""Of writing a file, where a compaction takes away rows that were still to be read."""


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    show_default=True,
    help="JSON Lines, which can be verified, or comma-separated values for spreadsheets.",
)
@click.option("--since", type=PAST_TIME, help="Only from this time on, or from 15m, 2h, 3d ago on.")
@click.option("--until", type=TIME, help="Only from before this time.")
@click.option("--namespace", help="Only changes that touched this namespace, with all their rows.")
@click.option("--actor", help="Only what this actor did or tried.")
@click.option("--ticket", help="Only what was done or tried under this ticket.")
@click.option("--out", type=_FILE, help="File to write; the standard output without it.")
@click.option("--key-file", type=_FILE, help="Sign the manifest with the key in this file (HMAC-SHA256).")
@click.option(
    "--raw", is_flag=True, help="Keep cells as they are; else those that a spreadsheet would run begin with '."
)
@click.option("--json", "as_json", is_flag=True, help="Write JSON Lines, for programs.")
@database_options
def export(
    *,
    form: str,
    since: Time | None,
    until: Time | None,
    namespace: str | None,
    actor: str | None,
    ticket: str | None,
    out: Path | None,
    key_file: Path | None,
    raw: bool,
    as_json: bool,
    config: Path | None,
    data_dir: Path | None,
    database_url: str | None,
) -> None:
    """Write the audit log to a file: every change with its rows, then every refusal, up to the moment it begins.

    The last line of JSON Lines is a manifest: how much there is, the SHA-256 of all lines before it, and the anchor of
    the chains' end. Of what a filter leaves out, what is needed to follow the chain stays in. `verify --file` and
    docs/verify_audit.py verify the file without the store. The manifest of a CSV goes to a file beside it, where
    `verify --file` finds it, or to the standard error. --json is short for --format jsonl.
    """
    from graph.server.composition import audit_unless_namespace, export_audit  # noqa: PLC0415 - clients need not load it
    from persistence.audit.export import Csv, ExportFilter, JsonLines, line  # noqa: PLC0415 - same
    from persistence.errors import TransientConflict  # noqa: PLC0415 - same

    require_order(since, until)
    key = read_key(key_file)
    jsonl = as_json or form == "jsonl"
    where = ExportFilter(namespace, actor, ticket, since.at if since else None, until.at if until else None)

    async def work(url: str) -> Manifest:
        from migrations import require_compatible  # noqa: PLC0415 - clients need not load what talks to databases

        await require_compatible(url)
        if namespace is not None and (others := await audit_unless_namespace(url, namespace)) is not None:
            raise unknown_namespace(namespace, others)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with _written(out) as write, progress_so_far("Exporting") as progress:
                    manifest = await export_audit(url, where, JsonLines() if jsonl else Csv(raw=raw), write, progress)
                    if jsonl:
                        write(line(manifest.document(key)))
                    return manifest
            except TransientConflict as error:
                if out is None:
                    message = f"What was written is not a whole export: {error}. Run this again."
                    raise Failure(Exit.UNAVAILABLE, message) from error
                if attempt == _ATTEMPTS:
                    message = f"Nothing was written: {error}. Begun {_ATTEMPTS} times; run this again."
                    raise Failure(Exit.UNAVAILABLE, message) from error
                print_status(f"Beginning again: {error}.")
        raise AssertionError("the loop returns or raises")

    manifest = run_on_database(config, data_dir, database_url, work)
    if not jsonl and out is not None:
        with _written(out.with_name(out.name + MANIFEST_SUFFIX)) as write:
            write(line(manifest.document(key)))
    elif not jsonl:
        print_status(line(manifest.document(key)).decode().rstrip())
    _report(manifest, actor=actor, ticket=ticket)


def _report(manifest: Manifest, **filters: str | None) -> None:
    print_status(
        f"Exported {pluralized(manifest.changes, 'change')}, {pluralized(manifest.rows, 'row')}, "
        f"{pluralized(manifest.refusals, 'refusal')}. Anchor: {manifest.end}"
    )
    # Of an actor who did nothing, or whose name was typed wrong: the log does not show which.
    named = " and ".join(f"{what} {printable(name)}" for what, name in filters.items() if name is not None)
    if named and not (manifest.changes or manifest.refusals):
        print_status(f"Nothing was done or tried with {named}: is that the right spelling?")


class _NotWrittenError(Exception):
    """Its cause is what went wrong with the file. Else it would be taken for what went wrong with the database."""


@contextmanager
def _written(path: Path | None) -> Iterator[Write]:
    """The file gets its name once it is complete: half an export must not pass for one. Raises Failure."""
    output = nullcontext(sys.stdout.buffer) if path is None else replacing(path, "{}.part")
    try:
        with output as file:
            yield _writing_to(file)
            file.flush()
    except BaseException as error:
        why = error.__cause__ if isinstance(error, _NotWrittenError) else error
        if isinstance(why, BrokenPipeError):
            raise PipeClosed from None
        if isinstance(why, OSError):
            raise Failure(Exit.INVALID, f"The export cannot be written: {why}.") from why
        raise


def _writing_to(file: IO[bytes]) -> Write:
    def write(data: bytes) -> None:
        try:
            file.write(data)
        except OSError as error:
            raise _NotWrittenError from error

    return write


SHORTEST: Final = 16
"""Bytes."""


def read_key(path: Path | None) -> bytes | None:
    """What stands in the file, without white space around it. Raises Failure."""
    if path is None:
        return None
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise Failure(Exit.INVALID, f"The key cannot be read: {error}.") from error
    if len(key) < SHORTEST:
        raise Failure(Exit.INVALID, f"{path} holds {len(key)} bytes: a key has {SHORTEST} or more.")
    return key
