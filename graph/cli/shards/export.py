"""`omnirelay mesh shards export`."""

from collections.abc import Callable
from typing import Final

import click

from graph.cli.errors import ApiClient, newest_revision
from graph.cli.importing.parse import COLUMNS
from graph.cli.options import server_options
from graph.cli.output import pluralized, print_json, print_status
from graph.cli.points_in_time import PointInTime, as_of, as_of_option
from graph.client.address import Address
from graph.client.http import pages
from graph.client.records import Json
from persistence.model.fields import neutralized

_COMMA: Final = ","


@click.command("export")
@click.option("--namespace", help="Only shards of this namespace.")
@as_of_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    default="csv",
    show_default=True,
    help="Comma-separated values with a header, or JSON Lines.",
)
@click.option(
    "--raw", is_flag=True, help="Keep cells as they are; else those that a spreadsheet would run begin with '."
)
@server_options
def export_shards(
    *, namespace: str | None, point: PointInTime | None, form: str, raw: bool, server: Address, as_json: bool
) -> None:
    """Write shards to stdout as a file that `import` takes, exact at one revision.

    --json is short for --format jsonl.
    """
    cell = str if raw else neutralized
    jsonl = as_json or form == "jsonl"
    with ApiClient(server) as api:
        variables: Json = {"filter": {"namespace": namespace}}
        if point is not None:
            variables["asOf"] = as_of(point, lambda: newest_revision(api))
        count = 0
        for number, page in enumerate(pages(api, "ExportShards", variables, pinned=True)):
            if number == 0 and not jsonl:
                click.echo(_COMMA.join(COLUMNS))
            for shard in page["nodes"]:
                row = {column: shard[column] for column in COLUMNS}
                print_json(row) if jsonl else click.echo(_line(row, cell))
            count += len(page["nodes"])
            revision = page["revision"]
    print_status(f"{pluralized(count, 'shard')} at revision {revision}.")


def _line(row: Json, cell: Callable[[str], str]) -> str:
    """No field needs quotes: identifiers, localities, numbers and states hold neither commas nor line breaks."""
    return _COMMA.join("" if value is None else cell(_written(value)) for value in row.values())


def _written(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)
