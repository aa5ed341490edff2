"""`omnirelay` that breaks one promise, for the test that the harness notices: MUTATION, then the command."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from itertools import count
from typing import Final

import graph.cli
from persistence.commands.command import UNSET, Command
from persistence.commands.shards import UpdateShards
from persistence.errors import TransientConflict
from persistence.model.outcomes import Outcome, ShardsChanged, VersionConflict
from persistence.model.records import AsOf, Shard, ShardDiff, ShardKey, StreamPosition
from persistence.model.stream import OmittedRange
from persistence.ports.readers import Stamped
from persistence.replica.reader import ReplicaShards
from persistence.replica.replica import Replica
from persistence.service.executor import CommandExecutor

_LATE_SECONDS: Final = 0.4


class Mutation(StrEnum):
    OLD_SNAPSHOT = "old-snapshot"
    NOT_COMMITTED = "not-committed"
    UNTRUE_ERROR = "untrue-error"
    LAST_WRITER_WINS = "last-writer-wins"
    LATE_REPLICA = "late-replica"
    OWN_WRITES_FORGOTTEN = "own-writes-forgotten"


def _read_an_old_snapshot() -> None:
    """One lookup in four shows the shard as it was before what was shown last."""
    get, numbers = ReplicaShards.get, count(1)
    shown: dict[ShardKey, list[Shard | None]] = {}

    async def mutated(self: ReplicaShards, key: ShardKey, as_of: AsOf | None = None) -> Stamped[Shard | None]:
        stamped = await get(self, key, as_of)
        earlier = shown.setdefault(key, [])
        if next(numbers) % 4 == 0 and len(earlier) > 1:
            return replace(stamped, value=earlier[-2])
        if stamped.value not in earlier[-1:]:
            earlier.append(stamped.value)
        return stamped

    ReplicaShards.get = mutated  # type: ignore[method-assign] # what it is for


def _acknowledge_without_a_commit() -> None:
    """One update in four, of a shard that was changed here last, is answered as if it had been made."""
    execute, numbers = CommandExecutor.execute, count(1)
    made: dict[ShardKey, ShardsChanged] = {}

    async def mutated(self: CommandExecutor, command: Command) -> Outcome:
        if isinstance(command, UpdateShards):
            (patch,) = command.shards
            last = made.get(patch.key)
            if last and last.shards[0].version == patch.expected_version and next(numbers) % 4 == 0:
                (shard,) = last.shards
                owner = shard.owner_node_id if patch.owner_node_id is UNSET else str(patch.owner_node_id)
                epoch = shard.owner_epoch + (owner != shard.owner_node_id)
                told = replace(shard, version=shard.version + 1, owner_node_id=owner, owner_epoch=epoch)
                return replace(last, shards=(told,))
        outcome = await execute(self, command)
        if isinstance(outcome, ShardsChanged) and isinstance(command, UpdateShards):
            made[outcome.shards[0].key] = outcome
        return outcome

    CommandExecutor.execute = mutated  # type: ignore[method-assign] # what it is for


def _say_that_nothing_was_written() -> None:
    """Of one change in four that was."""
    execute, numbers = CommandExecutor.execute, count(1)

    async def mutated(self: CommandExecutor, command: Command) -> Outcome:
        outcome = await execute(self, command)
        if isinstance(outcome, ShardsChanged) and next(numbers) % 4 == 0:
            raise TransientConflict("it was committed all the same")
        return outcome

    CommandExecutor.execute = mutated  # type: ignore[method-assign] # what it is for


def _let_the_last_writer_win() -> None:
    """An update that is refused is made all the same, on what is there."""
    execute = CommandExecutor.execute

    async def mutated(self: CommandExecutor, command: Command) -> Outcome:
        outcome = await execute(self, command)
        if isinstance(command, UpdateShards) and isinstance(outcome, VersionConflict) and outcome.stale[0].current:
            (patch,) = command.shards
            anyway = patch._replace(expected_version=outcome.stale[0].actual)
            return await execute(self, replace(command, shards=(anyway,)))
        return outcome

    CommandExecutor.execute = mutated  # type: ignore[method-assign] # what it is for


def _lag_behind_the_feed() -> None:
    """The replica receives late what the feed has sent to all others."""
    advanced = Replica.advanced

    def mutated(
        self: Replica, position: StreamPosition, diffs: Sequence[ShardDiff], omitted: OmittedRange | None
    ) -> None:
        asyncio.get_running_loop().call_later(_LATE_SECONDS, advanced, self, position, diffs, omitted)

    Replica.advanced = mutated  # type: ignore[method-assign] # what it is for


def _forget_own_writes() -> None:
    """And does not wait for what was committed here."""
    _lag_behind_the_feed()

    def mutated(self: Replica, outcome: Outcome) -> None:
        del self, outcome

    Replica.note = mutated  # type: ignore[method-assign] # what it is for


_MUTATE: Final[dict[Mutation, Callable[[], None]]] = {
    Mutation.OLD_SNAPSHOT: _read_an_old_snapshot,
    Mutation.NOT_COMMITTED: _acknowledge_without_a_commit,
    Mutation.UNTRUE_ERROR: _say_that_nothing_was_written,
    Mutation.LAST_WRITER_WINS: _let_the_last_writer_win,
    Mutation.LATE_REPLICA: _lag_behind_the_feed,
    Mutation.OWN_WRITES_FORGOTTEN: _forget_own_writes,
}


def program(mutation: Mutation) -> tuple[str, ...]:
    """What to fork, before the command's own arguments."""
    return (__name__, mutation)


def main() -> None:
    _MUTATE[Mutation(sys.argv.pop(1))]()
    graph.cli.main()
