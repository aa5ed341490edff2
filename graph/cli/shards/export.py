"""`omnirelay mesh shards export`."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

import click

from graph.cli.errors import ApiClient, newest_revision
from graph.cli.formats.problems import Problems
from graph.cli.formats.registry import FOREIGN, ForeignFormat
from graph.cli.importing.parse import COLUMNS, FORMATS, NumberedLines
from graph.cli.options import server_options
from graph.cli.output import pluralized, print_json, print_status
from graph.cli.points_in_time import PointInTime, as_of, as_of_option
from graph.client.address import Address
from graph.client.http import pages
from graph.client.records import Json
from persistence.model.fields import neutralized

_COMMA: Final = ","

_WITH_LIKE: Final = ", ".join(name for name, form in FOREIGN.items() if form.has_more)


@click.command("export")
@click.option("--namespace", help="Only shards of this namespace. Needed for the formats of other systems.")
@as_of_option
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="csv",
    show_default=True,
    help="Comma-separated values with a header, JSON Lines, or what another system prints of its table.",
)
@click.option(
    "--like",
    type=click.Path(exists=True, dir_okay=False),
    help="A table in the same format: what the store does not keep is taken from it.",
)
@click.option(
    "--raw", is_flag=True, help="Keep cells as they are; else those that a spreadsheet would run begin with '."
)
@server_options
def export_shards(
    *,
    namespace: str | None,
    point: PointInTime | None,
    form: str,
    like: str | None,
    raw: bool,
    server: Address,
    as_json: bool,
) -> None:
    """Write shards to stdout as a file that `import` takes, exact at one revision.

    --json is short for --format jsonl; with the format of another system it is that system's JSON.
    """
    foreign = FOREIGN.get(form)
    known = _known(form, foreign, like, namespace, as_json=as_json)
    with ApiClient(server) as api:
        variables: Json = {"filter": {"namespace": namespace}}
        if point is not None:
            variables["asOf"] = as_of(point, lambda: newest_revision(api))
        exported = _Exported(pages(api, "ExportShards", variables, pinned=True))
        if foreign is not None:
            write = foreign.write_json if as_json and foreign.write_json else foreign.write
            # All of it, or nothing and why.
            click.echo("\n".join(write(list(exported), known, Problems())))
        elif as_json or form == "jsonl":
            for shard in exported:
                print_json({column: shard[column] for column in COLUMNS})
        else:
            _print_csv(exported, str if raw else neutralized)
    print_status(f"{pluralized(exported.count, 'shard')} at revision {exported.revision}.")


def _known(
    form: str, foreign: ForeignFormat | None, like: str | None, namespace: str | None, *, as_json: bool
) -> list[tuple[int, str]]:
    """The lines of --like. Raises UsageError for options that do not go together, and Failure for a file that is no
    text."""
    if foreign is not None and namespace is None:
        raise click.UsageError(f"The tables of {form} know no namespaces: say with --namespace which one to write.")
    if foreign is not None and as_json and foreign.write_json is None:
        raise click.UsageError(f"There is no JSON of {form}: leave --json out.")
    if like is None:
        return []
    if foreign is None or not foreign.has_more:
        raise click.UsageError(f"--like is for formats with more in them than the store keeps: {_WITH_LIKE}.")
    problems = Problems()
    with click.open_file(like, "rb") as data:
        lines = list(NumberedLines(data, problems))
    # Read once before the first request: what is wrong with it is a problem of its lines, and not of the store.
    list(foreign.read(lines, problems))
    problems.raise_if_any(like, "used")
    return lines


class _Exported:
    """Shards, page by page; then how many there were, and at which revision. The first page is read at once: what is
    refused is refused before anything is printed."""

    def __init__(self, found: Iterator[Json]) -> None:
        self._pages = chain([next(found)], found)
        self.count = 0
        self.revision = ""

    def __iter__(self) -> Iterator[Json]:
        for page in self._pages:
            yield from page["nodes"]
            self.count += len(page["nodes"])
            self.revision = page["revision"]


def _print_csv(shards: _Exported, cell: Callable[[str], str]) -> None:
    """No field needs quotes: identifiers, localities, numbers and states hold neither commas nor line breaks."""
    rows = iter(shards)
    first = next(rows, None)  # before the header: nothing is written of what is not there
    click.echo(_COMMA.join(COLUMNS))
    for shard in () if first is None else chain([first], rows):
        click.echo(_COMMA.join("" if shard[one] is None else cell(_written(shard[one])) for one in COLUMNS))


def _written(value: object) -> str:
    return repr(value) if isinstance(value, float) else str(value)
