"""An import, from the first comparison to the last batch.

Each batch is all or nothing, and has an idempotency key, so that sending it twice does it once.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from graph.cli.errors import ApiClient, Exit, Failure, committed, newest_revision
from graph.cli.importing.compare import Difference, compare, read_existing
from graph.cli.importing.parse import ShardFile
from graph.cli.output import listed, pluralized, print_status
from graph.cli.progress import progress_bar
from graph.cli.suggestions import suggest_retry
from graph.client.records import Json
from persistence.model.policy import PolicyRule

_PASSING: Final = (Exit.UNAVAILABLE, Exit.INTERRUPTED)
"""What passes by itself."""


@dataclass(slots=True)
class Done:
    """What an import has come to so far. `changes` are the ids of those it made, `warnings` what the server warned of,
    once each."""

    created: int = 0
    updated: int = 0
    deleted: int = 0
    changes: list[str] = field(default_factory=list)
    warnings: dict[str, Json] = field(default_factory=dict)


def difference_to(api: ApiClient, file: ShardFile, counts: Mapping[str, int], *, prune: bool) -> Difference:
    """What the store lacks, and what it has beside that is to be pruned. `counts`: how many shards each namespace
    holds."""
    with progress_bar("Comparing", len(file.rows)) as advance:
        existing = read_existing(api, [row.key for row in file.rows], counts, advance, whole=prune)
    return compare(file.rows, existing, prune=prune)


@dataclass(frozen=True, slots=True)
class Import:
    """`change` is GraphQL's `ChangeInput` for every batch; `counts` as in `difference_to`."""

    api: ApiClient
    file: ShardFile
    counts: Mapping[str, int]
    change: Json
    batch_size: int
    prune: bool = False

    def run(self, difference: Difference) -> Done:
        """Send what differs, until nothing does. Raises Failure with how far it got and how to go on."""
        done = Done()
        round_ = ""
        try:
            while self._send(difference, round_, done):
                # Some batches were made by an earlier run, not now; what they made may have been undone since.
                round_ = str(newest_revision(self.api))
                difference = difference_to(self.api, self.file, self.counts, prune=self.prune)
        except Failure as failure:
            advice = [*failure.advice, *_so_far(done, failure.exit, failure.document)]
            raise Failure(failure.exit, failure.message, advice, failure.document) from failure
        except KeyboardInterrupt:
            print_status("\n".join(_so_far(done, Exit.INTERRUPTED)))
            raise
        return done

    def _send(self, difference: Difference, round_: str, done: Done) -> bool:
        """Whether any of it had been sent before."""
        replayed = False
        with progress_bar("Writing", difference.count) as advance:
            for batch in batches(difference, self.batch_size):
                sent = send(self.api, batch, self.change, self.file.digest, round_)
                replayed = replayed or sent.replayed
                done.warnings |= {warning["message"]: warning for warning in sent.warnings}
                if not sent.replayed:
                    done.changes.append(sent.change)
                    counter = _COUNTERS[batch.operation]
                    setattr(done, counter, getattr(done, counter) + sent.shards)
                advance(sent.shards)
        return replayed


def _so_far(done: Done, why: Exit, refusal: Json | None = None) -> list[str]:
    written = done.created + done.updated + done.deleted
    changes = f" ({'change' if len(done.changes) == 1 else 'changes'} {listed(done.changes)})" if done.changes else ""
    state = f"Written before that: {pluralized(written, 'shard')}{changes}."
    if why is Exit.INVALID:
        return [state]
    again = "compares anew and sends only what still differs."
    if why in _PASSING or (refusal or {}).get("__typename") == "VersionConflict":
        return [state, f"Run the same command again to go on: it {again}"]
    return [state, *_smaller(refusal), f"Once that is settled, the same command goes on where it stopped: it {again}"]


def _smaller(refusal: Json | None) -> list[str]:
    """What is within the budget: the same command, as it is, is refused for ever."""
    broken = (refusal or {}).get("violations", ())
    if not broken or {one["rule"] for one in broken} != {PolicyRule.MOVE_BUDGET}:
        return []
    budgets = [found[0] for one in broken if (found := re.match(r"[\d,]+", one["allowed"]))]
    most = min(int(budget.replace(",", "")) for budget in budgets)
    return ["In batches that are within the budget:", f"  {suggest_retry(batch_size=most)}"]


CREATE: Final = "CreateShards"

UPDATE: Final = "UpdateShards"

DELETE: Final = "DeleteShards"

_COUNTERS: Final = {CREATE: "created", UPDATE: "updated", DELETE: "deleted"}
"""Of `Done`, by operation."""


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
    warnings: list[Json]


def batches(difference: Difference, size: int) -> Iterator[Batch]:
    # What is gone goes last: nothing is without an owner meanwhile.
    parts = ((CREATE, difference.creations), (UPDATE, difference.updates), (DELETE, difference.deletions))
    for operation, shards in parts:
        for start in range(0, len(shards), size):
            yield Batch(operation, shards[start : start + size])


def send(api: ApiClient, batch: Batch, change: Json, digest: str, round_: str) -> Sent:
    """Raises Failure if the batch is refused. `digest` is the file's; see `idempotency_key`."""
    key = idempotency_key(batch, change, digest, round_)
    answer = api.change(batch.operation, {"shards": batch.shards, "change": change | {"idempotencyKey": key}})
    warnings = answer.pop("warnings", [])
    done = committed(answer)
    return Sent(done["change"]["id"], len(batch.shards), done["replayed"], warnings)


def idempotency_key(batch: Batch, change: Json, digest: str, round_: str) -> str:
    """The same for the same batch of the same file and the same change, so that a killed import can be run anew.

    `round_` distinguishes repetitions that are meant: what an earlier run made may have been undone.
    """
    content = json.dumps([digest, round_, batch.operation, batch.shards, change], sort_keys=True)
    return f"import-{hashlib.sha256(content.encode()).hexdigest()}"
