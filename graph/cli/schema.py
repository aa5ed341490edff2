"""`omnirelay schema`."""

import difflib
import shlex
from pathlib import Path

import click

from graph.cli.errors import Exit
from graph.cli.output import print_status

_LINES_PRINTED = 20


@click.group()
def schema() -> None:
    """The GraphQL schema."""


@schema.command("export")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write. Otherwise to stdout.")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if --output is not what would be written.")
def export(*, output: Path | None, check: bool) -> Exit:
    """Write the schema in GraphQL's own language, for people and for code generators."""
    if check and output is None:
        raise click.UsageError("Name the file to check with --output.")
    # Imported here: the schema takes a second to load.
    from graph.schema.build import export_schema  # noqa: PLC0415 - see above

    text = export_schema()
    if output is None:
        click.echo(text, nl=False)
    elif check:
        return _checked(output, text)
    else:
        output.write_text(text, encoding="utf-8")
        print_status(f"Wrote {output}.")
    return Exit.OK


def _checked(file: Path, text: str) -> Exit:
    current = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    if current == text:
        print_status(f"{file} is up to date.")
        return Exit.OK
    changes = list(
        difflib.unified_diff(current.splitlines(), text.splitlines(), str(file), "the schema", n=1, lineterm="")
    )
    rest = len(changes) - _LINES_PRINTED
    print_status("\n".join(changes[:_LINES_PRINTED] + ([f"... and {rest:,} lines more"] if rest > 0 else [])))
    print_status(f"{file} is out of date. Write it with: omnirelay schema export --output {shlex.quote(str(file))}")
    return Exit.NO
