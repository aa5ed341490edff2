"""Sending a difference in batches, each all or nothing, each named so that sending it twice does it once."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from graph.cli.api import Api
from graph.cli.imports.comparison import Difference
from graph.cli.output import Json
from graph.cli.refusals import committed

CREATE: Final = "CreateShards"
UPDATE: Final = "UpdateShards"


@dataclass(frozen=True, slots=True)
class Batch:
    operation: str
    shards: list[Json]


@dataclass(frozen=True, slots=True)
class Sent:
    """`replayed`: it was made by an earlier run of this import, so it was not made now."""

    change: str
    shards: int
    replayed: bool


def batches(difference: Difference, size: int) -> Iterator[Batch]:
    for operation, shards in ((CREATE, difference.creations), (UPDATE, difference.updates)):
        for start in range(0, len(shards), size):
            yield Batch(operation, shards[start : start + size])


def send(api: Api, batch: Batch, change: Json, digest: str, round_: str) -> Sent:
    """Raises Failure if the batch is refused. `digest` is the file's; see `idempotency_key`."""
    key = idempotency_key(batch, change, digest, round_)
    answer = api.change(batch.operation, {"shards": batch.shards, "change": change | {"idempotencyKey": key}})
    done = committed(answer)
    return Sent(done["change"]["id"], len(batch.shards), done["replayed"])


def idempotency_key(batch: Batch, change: Json, digest: str, round_: str) -> str:
    """The same for the same batch of the same file with the same words, so that a killed import can be run again.

    `round_` tells repetitions that are meant from those that are not: what an earlier run made may have been undone.
    """
    content = json.dumps([digest, round_, batch.operation, batch.shards, change], sort_keys=True)
    return f"import-{hashlib.sha256(content.encode()).hexdigest()}"
