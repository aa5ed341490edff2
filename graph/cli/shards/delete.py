"""`omnirelay mesh shards delete`."""

import sys
from collections.abc import Iterator, Sequence

import click

from graph.cli.errors import ApiClient, Exit, Failure, committed
from graph.cli.formats.problems import Problems
from graph.cli.importing.compare import read_existing
from graph.cli.importing.parse import NumberedLines
from graph.cli.importing.run import DELETE
from graph.cli.lookups import require_shard, unknown_namespace
from graph.cli.options import change_input, change_options, force_option, server_options
from graph.cli.output import listed, pluralized, print_json, printable
from graph.client.address import Address
from graph.client.http import rows
from graph.client.records import Json
from persistence.model.fields import MAX_SHARDS_PER_CHANGE, identifier_problem, name_problem
from persistence.model.records import ShardKey


@click.command("delete")
@click.argument("namespace", required=False)
@click.argument("shard", nargs=-1, metavar="SHARD...")
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Names more of them, a line each, as `list -o name` does; with NAMESPACE by their ids.",
)
@click.option("--yes", is_flag=True, help="Do not have it confirmed on a terminal.")
@change_options
@force_option
@server_options
def delete_shards(
    *,
    namespace: str | None,
    shard: tuple[str, ...],
    file: str | None,
    yes: bool,
    reason: str,
    ticket: str | None,
    actor: str | None,
    force_reason: str | None,
    server: Address,
    as_json: bool,
) -> None:
    """Delete shards, all in one change or none, each at the version that is read now.

    Name them as NAMESPACE SHARD..., or as NAMESPACE/SHARD... On a terminal, more than one are confirmed first.

    With --json one document: how many, and change and revision.
    """
    keys = _keys(namespace, shard, file)
    change = change_input(reason, ticket, actor, force_reason)
    with ApiClient(server) as api:
        found = _existing(api, keys)
        if len(found) > 1 and not yes and on_a_terminal():
            _confirm(found)
        answer = api.change(DELETE, {"shards": found, "change": change})
        done = committed(answer)
    if as_json:
        print_json({"deleted": len(found), "change": done["change"], "revision": done["revision"]})
    else:
        click.echo(f"Deleted {pluralized(len(found), 'shard')} (change {done['change']['id']}).")


def _keys(namespace: str | None, words: Sequence[str], file: str | None) -> list[ShardKey]:
    """Each once, in the order in which they are named. Raises UsageError, and Failure with what is wrong in a file."""
    if namespace is not None and "/" in namespace:
        # The first of several, named in full.
        words, namespace = (namespace, *words), None
    found = [_key(namespace, word) for word in words]
    if file is not None:
        problems = Problems()
        with click.open_file(file, "rb") as data:
            found += _keys_in(NumberedLines(data, problems), namespace, problems)
        problems.raise_if_any(file, "used, nothing was written")
    keys = list(dict.fromkeys(found))
    if not keys:
        raise click.UsageError("Which shards? Name them as NAMESPACE SHARD..., as NAMESPACE/SHARD..., or in --file.")
    if len(keys) > MAX_SHARDS_PER_CHANGE:
        raise click.UsageError(f"At most {MAX_SHARDS_PER_CHANGE:,} are deleted in one change, not {len(keys):,}.")
    return keys


def _key(namespace: str | None, word: str) -> ShardKey:
    key = _split(namespace, word)
    if key is None:
        raise click.UsageError(f"{printable(word)} is not of the form NAMESPACE/SHARD.")
    return key


def _split(namespace: str | None, word: str) -> ShardKey | None:
    if namespace is not None:
        return ShardKey(namespace, word)
    first, slash, rest = word.partition("/")
    return ShardKey(first, rest) if slash else None


def _keys_in(lines: NumberedLines, namespace: str | None, problems: Problems) -> Iterator[ShardKey]:
    for line, text in lines:
        key = _split(namespace, text.strip())
        if key is None:
            problems.add(line, None, "is not of the form namespace/shard, and the command line has no NAMESPACE")
            continue
        problem = name_problem(key.namespace) or identifier_problem(key.shard_id)
        if problem is None:
            yield key
        else:
            problems.add(line, None, problem)
    if lines.empty:
        problems.add(1, None, "there is nothing in it")


def _existing(api: ApiClient, keys: Sequence[ShardKey]) -> list[Json]:
    """The inputs of `deleteShards`. Raises Failure for what is not there."""
    counts = {item["name"]: item["shardCount"] for item in rows(api, "ListNamespaces", {})}
    for key in keys:
        if key.namespace not in counts:
            raise unknown_namespace(key.namespace, counts)
    shards = read_existing(api, keys, counts, lambda _: None)
    gone = [key for key in keys if key not in shards]
    if gone:
        require_shard(api, *gone[0])
        names = listed(["/".join(key) for key in gone])
        raise Failure(Exit.NOT_FOUND, f"Not there any more: {printable(names)}. Nothing was deleted.")
    return [
        {"namespace": key.namespace, "shardId": key.shard_id, "expectedVersion": shards[key]["version"]} for key in keys
    ]


def _confirm(shards: Sequence[Json]) -> None:
    names = listed([f"{shard['namespace']}/{shard['shardId']}" for shard in shards])
    if not click.confirm(f"Delete {pluralized(len(shards), 'shard')}: {names}?", err=True):
        raise Failure(Exit.NO, "Nothing was deleted.")


def on_a_terminal() -> bool:
    return sys.stdin.isatty()
