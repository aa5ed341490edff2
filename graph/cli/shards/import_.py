"""`omnirelay mesh shards import`."""

from pathlib import Path
from typing import Final

import click

from graph.cli.errors import ApiClient, Exit, Failure, print_warnings
from graph.cli.formats.problems import Problems
from graph.cli.formats.registry import FOREIGN
from graph.cli.importing.compare import Difference
from graph.cli.importing.parse import FORMATS, ShardFile, read_file
from graph.cli.importing.run import Done, Import, difference_to
from graph.cli.namespaces import configure
from graph.cli.options import change_input, change_options, force_option, server_options
from graph.cli.output import listed, pluralized, print_json, print_status, printable
from graph.client.address import Address
from graph.client.http import rows
from graph.client.records import Json
from persistence.model.fields import MAX_SHARDS_PER_CHANGE

_LISTED: Final = 20
"""Shards that a dry run would delete, and names."""

_ENDINGS: Final = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="What the file is: csv, jsonl, or the table of another system. By default, as its name ends.",
)
@click.option("--namespace", help="Namespace of every row. Needed where the file has no such column.")
@click.option(
    "--batch-size",
    type=click.IntRange(1, MAX_SHARDS_PER_CHANGE),
    default=2_000,
    show_default=True,
    help="Shards a change.",
)
@click.option(
    "--create-namespace", "strategy", metavar="STRATEGY", help="Create namespaces that are missing, with this strategy."
)
@click.option(
    "--prune", is_flag=True, help="Delete what is in the namespaces that the file names, and is not in the file."
)
@click.option("--dry-run", is_flag=True, help="Compare and count; write nothing.")
@change_options
@force_option
@server_options
def import_shards(
    *,
    file: str,
    form: str | None,
    namespace: str | None,
    batch_size: int,
    strategy: str | None,
    prune: bool,
    dry_run: bool,
    reason: str,
    ticket: str | None,
    actor: str | None,
    force_reason: str | None,
    server: Address,
    as_json: bool,
) -> None:
    """Bring shards to what a file says: create those that are missing, change those that differ, leave equal ones.

    Nothing is written unless every line is valid. Shards that the file does not name stay as they are, unless it is
    told to --prune them. An import that was interrupted is simply run again.

    With --json one document: the counts, and the changes made.
    """
    problems = Problems()
    form = form or _format_of(file)
    if form in FOREIGN and namespace is None:
        raise click.UsageError(f"The tables of {form} know no namespaces: say with --namespace where the shards go.")
    with click.open_file(file, "rb") as lines:
        content = read_file(lines, form, namespace, problems)
    problems.raise_if_any(file)
    problems.print_left_out()
    if prune and not content.rows:
        message = f"{printable(file)} names no shard, so there is no namespace to prune. Nothing was written."
        raise Failure(Exit.INVALID, message)
    change = change_input(reason, ticket, actor, force_reason)
    with ApiClient(server) as api:
        counts = {item["name"]: item["shardCount"] for item in rows(api, "ListNamespaces", {})}
        _require_namespaces(api, content, counts, strategy, None if dry_run else change)
        difference = difference_to(api, content, counts, prune=prune)
        done = Done() if dry_run else Import(api, content, counts, change, batch_size, prune).run(difference)
    _report(file, content, difference, None if dry_run else done, as_json=as_json)


def _format_of(name: str) -> str:
    form = _ENDINGS.get(Path(name).suffix.lower())
    if form is None:
        what = "stdin" if name == "-" else name
        raise click.UsageError(f"Say with --format what {what} is: {', '.join(FORMATS)}.")
    return form


def _require_namespaces(
    api: ApiClient, file: ShardFile, counts: dict[str, int], strategy: str | None, change: Json | None
) -> None:
    """Creates those that are missing, if there is a strategy for them and a change to do it under."""
    missing = sorted({row.key.namespace for row in file.rows} - counts.keys())
    if missing and strategy is None:
        raise Failure(
            Exit.NOT_FOUND,
            f"There is no namespace {listed(missing)}. Nothing was written.",
            [
                "Add --create-namespace STRATEGY to create what is missing (omnirelay mesh namespaces strategies),",
                "or declare namespaces in a file, for 'omnirelay mesh namespaces apply'.",
            ],
        )
    for name in missing:
        if change is None:
            print_status(f"Would create namespace {name} ({strategy}).")
        else:
            configure(api, name, str(strategy), {}, "0", change)
            print_status(f"Created namespace {name} ({strategy}).")


def _report(name: str, file: ShardFile, difference: Difference, done: Done | None, *, as_json: bool) -> None:
    """`done` is null for a dry run."""
    print_warnings(() if done is None else done.warnings.values())
    created = len(difference.creations) if done is None else done.created
    updated = len(difference.updates) if done is None else done.updated
    deleted = len(difference.deletions) if done is None else done.deleted
    equal = difference.equal
    if as_json:
        print_json(
            {
                "file": name,
                "sha256": file.digest,
                "dryRun": done is None,
                "rows": len(file.rows),
                "created": created,
                "updated": updated,
                "deleted": deleted,
                "equal": equal,
                "changes": [] if done is None else done.changes,
            }
        )
        return
    would = "would be " if done is None else ""
    pruned = f"{deleted:,} {would}deleted, " if difference.deletions else ""
    if done is None:
        for shard in difference.deletions[:_LISTED]:
            print_status(f"Would delete {shard['namespace']}/{shard['shardId']}.")
        if deleted > _LISTED:
            print_status(f"Would delete {deleted - _LISTED:,} more.")
    made = f", in {pluralized(len(done.changes), 'change')}" if done and done.changes else ""
    click.echo(
        f"{pluralized(len(file.rows), 'row')} of {name}: {created:,} {would}created, {updated:,} {would}updated, "
        f"{pruned}{equal:,} equal already{made}."
    )
