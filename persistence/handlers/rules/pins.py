"""The rules of pins: none that contradicts the mesh is made, and none that holds is broken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from persistence.commands.read_state import ReadState
from persistence.commands.shards import CreateShards, NewShard, PinRequest, ShardPatch, UpdateShards, holds
from persistence.commands.write_set import ShardWrite
from persistence.model.fields import Problems
from persistence.model.outcomes import BrokenRule
from persistence.model.policy import PolicyRule
from persistence.model.records import VACATED, Pin


def check_pins(command: CreateShards | UpdateShards, state: ReadState) -> None:
    """Raises InvalidArgument for pins that end before they begin, or to nodes that are to be vacated."""
    problems = Problems()
    shards: Sequence[NewShard | ShardPatch] = command.shards
    for index, shard in enumerate(shards):
        if isinstance(shard.pin, PinRequest):
            path = command.path(index)
            problems.add(f"{path}pin.until", _ignoring(shard.pin, state))
            problems.add(f"{path}pin", _unavailable(_owner_after(shard, state), state))
    problems.raise_if_any()


def broken_pins(writes: Iterable[ShardWrite], state: ReadState) -> Iterator[BrokenRule]:
    """Moves of shards whose pin holds. A change that takes the pin away may move the shard as well."""
    for write in writes:
        before, after = write.previous, write.content
        if before is None or before.owner_node_id == after.owner_node_id or after.pinned is None:
            continue
        if before.pinned is not None and holds(before.pinned, state.time):
            yield BrokenRule(
                PolicyRule.PIN,
                *write.key,
                f"a move from {before.owner_node_id} to {after.owner_node_id}",
                _holds(before.owner_node_id, before.pinned),
                "Unpin it first, or force it with a reason.",
            )


def _ignoring(pin: PinRequest, state: ReadState) -> str | None:
    now = state.time
    if pin.until is None or now is None or pin.until > now:
        return None
    return f"is {_time(pin)}, which has passed: a pin ends in the future, or has no end"


def _unavailable(owner: str | None, state: ReadState) -> str | None:
    node = None if state.inputs is None else state.inputs.nodes.get(owner or "")
    if node is not None and node.status not in VACATED:
        return None
    what = "not registered" if node is None else str(node.status)
    return f"would keep the shard on {owner}, which is {what} and may not own shards: give it another owner, or no pin"


def _holds(owner: str, pin: Pin) -> str:
    until = "it is unpinned" if pin.until is None else _time(pin)
    return f"staying on {owner} until {until}, as {pin.by} pinned it ({pin.reason})"


def _time(pin: Pin | PinRequest) -> str:
    return pin.until.isoformat().replace("+00:00", "Z") if pin.until else ""


def _owner_after(shard: NewShard | ShardPatch, state: ReadState) -> str | None:
    """Null for a patch of a shard that is not there."""
    if isinstance(shard.owner_node_id, str):
        return shard.owner_node_id
    current = state.shards.get(shard.key)
    return None if current is None else current.owner_node_id
