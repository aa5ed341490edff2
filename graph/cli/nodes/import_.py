"""`omnirelay mesh nodes import`."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from graph.cli.errors import ApiClient, Failure, committed
from graph.cli.formats.problems import Problems
from graph.cli.importing.parse import NumberedLines
from graph.cli.nodes.shared import format_labels
from graph.cli.options import change_input, change_options, server_options
from graph.cli.output import NOTHING, pluralized, print_json, print_status
from graph.client.address import Address
from graph.client.http import rows
from graph.client.records import Json
from persistence.model.fields import (
    Problems as FieldProblems,
)
from persistence.model.fields import (
    add_label_problems,
    did_you_mean,
    identifier_problem,
    place_problem,
    quoted,
    weight_problem,
)
from persistence.model.records import NodeStatus

COLUMNS: Final = ("nodeId", "region", "zone", "labels", "weight", "status")

_CLEARABLE: Final = ("region", "zone")

_STATUSES: Final = [status for status in NodeStatus if status is not NodeStatus.REMOVED]

_FORMATS: Final = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--format", "form", type=click.Choice(["csv", "jsonl"]), help="What the file is. By default, as its name ends."
)
@click.option("--dry-run", is_flag=True, help="Compare and count; write nothing.")
@change_options
@server_options
def import_nodes(
    *,
    file: str,
    form: str | None,
    dry_run: bool,
    reason: str,
    ticket: str | None,
    actor: str | None,
    server: Address,
    as_json: bool,
) -> None:
    """Bring nodes to what a file says: register those that are missing, change those that differ, leave equal ones.

    Nothing is written unless every line is valid. Nodes that the file does not name stay as they are. Each node is a
    change; an import that stopped is simply run again.

    With --json one document: the counts, and the changes made.
    """
    form = form or _FORMATS.get(Path(file).suffix.lower())
    if form is None:
        raise click.UsageError("Say with --format what the file is: csv or jsonl.")
    problems = Problems()
    with click.open_file(file, "rb") as data:
        nodes = _read(data, form, problems)
    problems.raise_if_any(file)
    change = change_input(reason, ticket, actor)
    done: Json = {"file": file, "dryRun": dry_run, "nodes": len(nodes), "registered": 0, "updated": 0, "equal": 0}
    changes: list[str] = []
    with ApiClient(server) as api:
        existing = _existing(api)
        for node in nodes:
            step = _step(node, existing.get(node["nodeId"]))
            if step is None:
                done["equal"] += 1
                continue
            operation, given = step
            if dry_run:
                print_status(_would(operation, given))
            else:
                changes.append(_send(api, operation, given | {"change": change}, changes))
            done["registered" if operation == _REGISTER else "updated"] += 1
    if as_json:
        print_json(done | {"changes": changes})
    else:
        would = "would be " if dry_run else ""
        click.echo(
            f"{pluralized(len(nodes), 'node')} of {file}: {done['registered']:,} {would}registered, "
            f"{done['updated']:,} {would}updated, {done['equal']:,} equal already."
        )


def _read(data: Iterable[bytes], form: str, problems: Problems) -> list[Json]:
    """A node each, with what its line gives, in the order of the file."""
    lines = NumberedLines(data, problems)
    found: dict[str, Json] = {}
    first: dict[str, int] = {}
    for line, values in _of_csv(lines, problems) if form == "csv" else _of_json(lines, problems):
        node = _checked(line, values, problems)
        if node is None:
            continue
        if node["nodeId"] in found:
            problems.add(line, "nodeId", f"names {node['nodeId']} again, after line {first[node['nodeId']]:,}")
        else:
            found[node["nodeId"]], first[node["nodeId"]] = node, line
    if lines.empty:
        problems.add(1, None, "there is nothing in it")
    return list(found.values())


def _of_csv(lines: Iterable[tuple[int, str]], problems: Problems) -> Iterator[tuple[int, Json]]:
    """Labels are `key=value`, several with semicolons between them. An empty cell is null where that is a value, no
    labels, and otherwise left out."""
    header: list[str] = []
    for line, text in lines:
        try:
            cells = next(csv.reader([text], strict=True))
        except csv.Error as error:
            what = "a quote is never closed" if str(error) == "unexpected end of data" else str(error)
            problems.add(line, None, f"is broken: {what}")
            cells = []
        if not header:
            header = cells
            if not _is_header(line, header, problems):
                return
        elif cells and len(cells) != len(header):
            problems.add(line, None, f"has {len(cells)} fields, the header has {len(header)}")
        elif cells:
            yield line, dict(_values(header, cells))


def _is_header(line: int, header: list[str], problems: Problems) -> bool:
    before = problems.count
    for column in header:
        if column not in COLUMNS:
            meant = did_you_mean(column, COLUMNS) or f": there are {', '.join(COLUMNS)}"
            problems.add(line, None, f"there is no column {quoted(column)}{meant}")
    if len(set(header)) < len(header):
        problems.add(line, None, "names a column twice")
    if "nodeId" not in header:
        problems.add(line, None, "the column nodeId is missing")
    return problems.count == before


def _values(header: list[str], cells: list[str]) -> Iterator[tuple[str, object]]:
    for column, cell in zip(header, cells, strict=True):
        if column == "labels":
            yield column, dict(pair.partition("=")[::2] for pair in cell.split(";") if pair)
        elif column in _CLEARABLE:
            yield column, cell or None
        elif column == "weight":
            if cell:
                yield column, int(cell) if cell.isdecimal() and len(cell) < _LONG else cell
        elif cell or column == "nodeId":
            yield column, cell


_LONG: Final = 20
"""Digits of a number that is no weight."""


def _of_json(lines: Iterable[tuple[int, str]], problems: Problems) -> Iterator[tuple[int, Json]]:
    for line, text in lines:
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            problems.add(line, None, f"is not JSON: {error.msg} at character {error.colno}")
        except (ValueError, RecursionError) as error:
            what = "holds a number that is too long" if isinstance(error, ValueError) else "is nested too deeply"
            problems.add(line, None, what)
        else:
            if not isinstance(document, dict):
                problems.add(line, None, "must be an object, in braces")
            elif unknown := [name for name in document if name not in COLUMNS]:
                problems.add(line, None, f"there is no member {quoted(unknown[0])}: there are {', '.join(COLUMNS)}")
            else:
                yield line, document


def _checked(line: int, values: Json, problems: Problems) -> Json | None:
    """What is given of a node, or none and what is wrong with it. An integer is an id, as brokers have them."""
    before = problems.count
    node = dict(values)
    if isinstance(node.get("nodeId"), int) and not isinstance(node["nodeId"], bool):
        node["nodeId"] = str(node["nodeId"]) if abs(node["nodeId"]) < 10**127 else ""
    node.setdefault("nodeId", None)
    for column, value in node.items():
        for problem in _problems(column, value):
            problems.add(line, column, problem)
    return node if problems.count == before else None


def _problems(column: str, value: Any) -> Iterator[str]:
    if value is None:
        yield from [] if column in _CLEARABLE else ["is missing"]
    elif column == "labels":
        if isinstance(value, dict):
            found = FieldProblems()
            add_label_problems(found, value)
            yield from (problem.message for problem in found)
        else:
            yield "must be an object of strings"
    elif column == "weight":
        yield from filter(None, [weight_problem(value)])
    elif not isinstance(value, str):
        yield f"must be a string, not {quoted(str(value))}"
    elif column == "status":
        yield from [] if value in _STATUSES else [f"{quoted(value)} is none of {', '.join(_STATUSES)}"]
    else:
        yield from filter(None, [(identifier_problem if column == "nodeId" else place_problem)(value)])


def _existing(api: ApiClient) -> Mapping[str, Json]:
    """Those that were removed are not in it: they are registered anew."""
    return {node["nodeId"]: node for node in rows(api, "ListNodes", {})}


_REGISTER: Final = "RegisterNode"


def _step(node: Json, now: Json | None) -> tuple[str, Json] | None:
    """The operation that brings a node to what is given, and its input; none where it is so already."""
    if now is None:
        return _REGISTER, node
    changed = {name: value for name, value in node.items() if now[name] != value}
    return ("UpdateNode", {"nodeId": node["nodeId"], "expectedVersion": now["version"], **changed}) if changed else None


def _send(api: ApiClient, operation: str, given: Json, changes: list[str]) -> str:
    """The id of the change. Raises Failure with what was written before."""
    try:
        return str(committed(api.change(operation, given))["change"]["id"])
    except Failure as failure:
        so_far = f"Written before that: {pluralized(len(changes), 'node')}. Run the same command again to go on."
        raise Failure(failure.exit, failure.message, [*failure.advice, so_far], failure.document) from failure


def _would(operation: str, given: Json) -> str:
    """`Would update node-1: weight 2, zone b.`"""
    fields = [
        f"{name} {format_labels(value) if name == 'labels' else value or NOTHING}"
        for name, value in given.items()
        if name not in {"nodeId", "expectedVersion"}
    ]
    verb = "register" if operation == _REGISTER else "update"
    return f"Would {verb} {given['nodeId']}" + (f": {', '.join(fields)}." if fields else ".")
