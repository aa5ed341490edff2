"""The formats of other systems: how the table of each is read, and how it is written."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from graph.cli.formats import cassandra, ceph, elasticsearch, kafka, redis
from graph.cli.formats.problems import Problems
from graph.client.records import Json

Lines: TypeAlias = Iterable[tuple[int, str]]
"""Those that are not blank, with their numbers, from 1."""

Write: TypeAlias = Callable[[Iterable[Json], Lines, Problems], Iterator[str]]


@dataclass(frozen=True, slots=True)
class ForeignFormat:
    """`read` gives (line, column -> value) of each shard, without its namespace. `write` gives lines, `write_json`
    those of --json, where there is such a form; both are given shards and the lines of a table in the same format, and
    with `has_more` take from it what is not stored."""

    read: Callable[[Lines, Problems], Iterator[tuple[int, Json]]]
    write: Write
    write_json: Write | None = None
    has_more: bool = False


FOREIGN: Final[dict[str, ForeignFormat]] = {
    "redis": ForeignFormat(redis.read, redis.write, has_more=True),
    "kafka": ForeignFormat(kafka.read, kafka.write, kafka.write),
    "elasticsearch": ForeignFormat(elasticsearch.read, elasticsearch.write, elasticsearch.write_json),
    "cassandra": ForeignFormat(cassandra.read, cassandra.write, has_more=True),
    "ceph": ForeignFormat(ceph.read, ceph.write, ceph.write_json, has_more=True),
}
