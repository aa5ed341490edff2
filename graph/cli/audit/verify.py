"""`omnirelay mesh audit verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graph.cli.audit.export import MANIFEST_SUFFIX, read_key
from graph.cli.errors import Exit, Failure
from graph.cli.offline import run_on_database
from graph.cli.options import database_options, json_option
from graph.cli.output import pluralized, print_json, print_status, print_table
from graph.cli.progress import progress_so_far

if TYPE_CHECKING:
    from persistence.audit.checkpoints import Checkpoint, Verdict


_FILE = click.Path(dir_okay=False, path_type=Path)

_LISTED = 50


@click.command()
@click.option(
    "--file", "exported", type=_FILE, help="Verify an export instead of a database; beside a CSV its manifest must lie."
)
@click.option(
    "--since", "checkpoint", type=_FILE, help="Verify what came after this checkpoint, and that it still holds."
)
@click.option(
    "--checkpoint",
    "next_checkpoint",
    type=_FILE,
    help="Where to write the checkpoint for the next time, if all is well.",
)
@click.option(
    "--anchor", "anchor_text", metavar="ANCHOR", help="An end that was printed earlier: it must be in the chains."
)
@click.option("--key-file", type=_FILE, help="Key that the manifest of the export must be signed with.")
@click.option(
    "--processes", type=click.IntRange(1, 8), help="How many processes share the work; one for each processor."
)
@json_option
@database_options
def verify(
    *,
    exported: Path | None,
    checkpoint: Path | None,
    next_checkpoint: Path | None,
    anchor_text: str | None,
    key_file: Path | None,
    processes: int | None,
    as_json: bool,
    config: Path | None,
    data_dir: Path | None,
    database_url: str | None,
) -> Exit:
    """Find out whether anything in the audit log was edited, taken out, put in, or swapped, and where.

    Reads changes, history and refusals from the beginning, or from a checkpoint; recomputes every hash; and compares
    the tables that servers answer from with what history says. Exit with 1 if anything is wrong. Keep the anchor that
    it prints somewhere else: only that tells a log that was cut off, or written anew from end to end. --json writes one
    document.
    """
    since = _read_checkpoint(checkpoint)
    anchor = _read_anchor(anchor_text)
    if exported is not None:
        if checkpoint is not None:
            raise click.UsageError("--since is for a database: a file is verified from its beginning.")
        verdict = _verify_file(exported, read_key(key_file), anchor)
    else:
        if key_file is not None:
            raise click.UsageError("--key-file is for an export: name it with --file.")
        verdict = _verify_database(since, anchor, processes, config, data_dir, database_url)
    if as_json:
        print_json(_document(verdict))
    else:
        _print(verdict)
    if verdict.findings.count:
        return Exit.NO
    if next_checkpoint is not None:
        next_checkpoint.write_text(json.dumps(verdict.end.document(), indent=2) + "\n", encoding="utf-8")
        print_status(f"The checkpoint is in {next_checkpoint}.")
    return Exit.OK


def _verify_file(path: Path, key: bytes | None, anchor: Checkpoint | None) -> Verdict:
    from persistence.audit.export_verification import (  # noqa: PLC0415 - clients need not load it
        NotAnExport,
        verify_csv,
        verify_lines,
    )

    manifest = path.with_name(path.name + MANIFEST_SUFFIX)
    try:
        with path.open("rb") as lines:
            if manifest.is_file():
                return verify_csv(lines, manifest.read_bytes(), key, anchor)
            if path.suffix.lower() == ".csv":
                raise Failure(
                    Exit.INVALID, f"{path} cannot be verified without its manifest, {manifest}: it is not there."
                )
            return verify_lines(lines, key, anchor)
    except OSError as error:
        raise Failure(Exit.INVALID, f"The export cannot be read: {error}.") from error
    except NotAnExport as error:
        raise Failure(Exit.INVALID, f"{path} is not an export that can be verified: {error}.") from error


def _verify_database(
    since: Checkpoint | None,
    anchor: Checkpoint | None,
    processes: int | None,
    config: Path | None,
    data_dir: Path | None,
    database_url: str | None,
) -> Verdict:
    from graph.server.composition import verify_audit  # noqa: PLC0415 - clients need not load it

    async def work(url: str) -> Verdict:
        from migrations import require_compatible  # noqa: PLC0415 - same

        await require_compatible(url)
        with progress_so_far("Verifying") as progress:
            return await verify_audit(url, since, anchor, processes=processes, progress=progress)

    return run_on_database(config, data_dir, database_url, work)


def _read_checkpoint(path: Path | None) -> Checkpoint | None:
    from persistence.audit.checkpoints import Checkpoint  # noqa: PLC0415 - clients need not load it

    if path is None:
        return None
    try:
        return Checkpoint.read_document(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(Exit.INVALID, f"The checkpoint {path} cannot be used: it {error}.") from error


def _read_anchor(text: str | None) -> Checkpoint | None:
    from persistence.audit.checkpoints import Checkpoint  # noqa: PLC0415 - clients need not load it

    try:
        return None if text is None else Checkpoint.read(text)
    except ValueError as error:
        raise Failure(Exit.INVALID, f"--anchor {error}.") from error


def _document(verdict: Verdict) -> dict[str, Any]:
    """Counters are strings of digits, as everywhere in the API."""
    return {
        "intact": not verdict.findings.count,
        "changes": str(verdict.changes),
        "rows": str(verdict.rows),
        "refusals": str(verdict.refusals),
        "anchor": str(verdict.end),
        "findingCount": str(verdict.findings.count),
        "findings": [
            {"table": one.table, "key": one.key, "columns": one.columns, "problem": one.problem}
            for one in verdict.findings.listed
        ],
    }


def _print(verdict: Verdict) -> None:
    findings = verdict.findings
    if findings.count:
        print_table(
            ["TABLE", "ROW", "PROBLEM"], [(one.table, one.key, one.problem) for one in findings.listed[:_LISTED]]
        )
        more = findings.count - min(len(findings.listed), _LISTED)
        print_status(
            f"{pluralized(findings.count, 'thing')} wrong" + (f", {more:,} of them not listed." if more else ".")
        )
    counts = (("change", verdict.changes), ("row", verdict.rows), ("refusal", verdict.refusals))
    read = ", ".join(pluralized(count, noun) for noun, count in counts)
    print_status(f"Verified {read}." if not findings.count else f"Read {read}.")
    if not findings.count:
        click.echo(f"Anchor: {verdict.end}")
