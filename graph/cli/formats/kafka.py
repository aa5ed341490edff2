"""Kafka: the JSON of kafka-reassign-partitions, and the text of kafka-topics --describe, which is only read.

A partition is a shard, called `topic-partition`, and its replicas are copies of it in their order: the owner is the
preferred leader. Brokers are called by their numbers. The leader of --describe is the shard's leader.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from graph.cli.formats.copies import cannot_be_written, collected, copies
from graph.cli.formats.json_items import is_json, json_items
from graph.cli.formats.problems import Problems
from graph.client.records import Json
from persistence.model.fields import quoted

_PARTITION: Final = re.compile(r"(.+)-(0|[1-9][0-9]{0,9})", re.ASCII)

_BROKER: Final = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)

_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")

_FIELD: Final = re.compile(r"\b(\w+):[ \t]*([^\s]*)")
"""From the beginning of a word alone: tried from each of its letters, a long word takes a time that is quadratic."""


def read(lines: Iterable[tuple[int, str]], problems: Problems) -> Iterator[tuple[int, Json]]:
    lines = list(lines)
    partitions = _of_json(lines, problems) if is_json(lines) else _of_text(lines, problems)
    for line, topic, partition, replicas, leader in partitions:
        problem = _problem(topic, partition, replicas)
        if problem:
            problems.add(line, None, problem)
            continue
        for row in copies(f"{topic}-{partition}", [str(broker) for broker in replicas], **leader):
            yield line, row


def _of_json(
    lines: Iterable[tuple[int, str]], problems: Problems
) -> Iterator[tuple[int, object, object, Sequence[object], Json]]:
    for line, where, item in json_items(lines, ("partitions",), problems):
        replicas = item.get("replicas")
        if isinstance(replicas, list):
            yield line, item.get("topic"), item.get("partition"), replicas, {}
        else:
            problems.add(line, f"{where}.replicas", "must be an array of brokers")


def _of_text(
    lines: Iterable[tuple[int, str]], problems: Problems
) -> Iterator[tuple[int, object, object, Sequence[object], Json]]:
    for line, text in lines:
        fields = dict(_FIELD.findall(text))
        if "PartitionCount" in fields:
            continue
        if not {"Topic", "Partition", "Leader", "Replicas"} <= fields.keys():
            problems.add(line, None, "is neither JSON nor a line of kafka-topics --describe")
            continue
        replicas = [_number(broker) for broker in fields["Replicas"].split(",")]
        leader = fields["Leader"] if _BROKER.fullmatch(fields["Leader"]) else None
        yield line, fields["Topic"], _number(fields["Partition"]), replicas, {"leaderId": leader}


def _number(text: str) -> int | str:
    return int(text) if _BROKER.fullmatch(text) else text


def _problem(topic: object, partition: object, replicas: Sequence[object]) -> str | None:
    if not isinstance(topic, str) or not _TOPIC.fullmatch(topic):
        return f"{quoted(str(topic))} is no topic"
    if not _is_number(partition):
        return f"{quoted(str(partition))} is no partition: a whole number, 0 or more"
    if not replicas:
        return f"{topic}-{partition} has no replicas"
    for broker in replicas:
        if not _is_number(broker):
            return f"{quoted(str(broker))} is no broker: a whole number, 0 or more"
    if len(set(replicas)) < len(replicas):
        return f"{topic}-{partition} has two replicas at one broker"
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**10


def write(shards: Iterable[Json], *_: object) -> Iterator[str]:
    partitions = [_partition(shard_id, held) for shard_id, held in collected(shards).items()]
    partitions.sort(key=lambda one: (one["topic"], one["partition"]))
    yield json.dumps({"version": 1, "partitions": partitions}, separators=(",", ":"))


def _partition(shard_id: str, held: dict[int, Json]) -> Json:
    found = _PARTITION.fullmatch(shard_id)
    if not found or 0 not in held:
        raise cannot_be_written(next(iter(held.values())), "partitions are called topic-partition")
    for shard in held.values():
        if not _BROKER.fullmatch(shard["ownerNodeId"]):
            raise cannot_be_written(shard, f"its owner {shard['ownerNodeId']} is no number of a broker")
    replicas = [int(shard["ownerNodeId"]) for shard in held.values()]
    anywhere = ["any"] * len(replicas)
    return {"topic": found[1], "partition": int(found[2]), "replicas": replicas, "log_dirs": anywhere}
