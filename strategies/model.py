"""What every strategy is given and gives back: nodes, shards in columns, and the two Protocols with their laws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from strategies.hashing import shard_keys
from strategies.hints import Hint, hint_text, read_hint
from strategies.parameters import Parameter

Keys: TypeAlias = NDArray[np.uint64]
Owners: TypeAlias = NDArray[np.int32]
"""For each shard the index of its owner in the nodes, which are ordered by id."""


class Infeasible(Exception):
    """No assignment satisfies the configuration. The message names the constraint, with its numbers."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node that may own shards. `weight` is a whole number from 1 to 2^20; shares follow it."""

    node_id: str
    weight: int = 1
    region: str | None = None
    zone: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shard:
    """What placing needs of one shard. `capacity` is its size relative to others, finite and 0 or more."""

    shard_id: str
    capacity: float = 1.0
    locality_hint: str | None = None


@dataclass(frozen=True)
class Shards:
    """The shards of one namespace in columns, so that a million of them are a few arrays.

    Order is the caller's and means nothing. `hints` holds for each shard the index of its hint in `hint_table`.
    """

    namespace: str
    ids: Sequence[str]
    capacities: NDArray[np.float64]
    hints: NDArray[np.int32]
    hint_table: Sequence[Hint]

    @classmethod
    def of(cls, namespace: str, shards: Iterable[Shard]) -> Shards:
        """Raises ValueError for a locality hint that cannot be read."""
        rows = list(shards)
        table: dict[str | None, int] = {}
        hints = [table.setdefault(row.locality_hint, len(table)) for row in rows]
        return cls(
            namespace,
            [row.shard_id for row in rows],
            np.fromiter((row.capacity for row in rows), np.float64, len(rows)),
            np.array(hints, np.int32),
            [read_hint(hint) for hint in table],
        )

    @classmethod
    def named(cls, namespace: str, ids: Sequence[str]) -> Shards:
        """Shards of capacity 1 without hints."""
        return cls(namespace, ids, np.ones(len(ids)), np.zeros(len(ids), np.int32), [read_hint(None)])

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def keys(self) -> Keys:
        """Each shard's 64-bit key; hashing a million ids takes a third of a second, so it is done once."""
        return shard_keys(self.namespace, self.ids)

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """Indexes of the shards in ascending order of key."""
        return np.argsort(self.keys, kind="stable")


def shard_at(shards: Shards, index: int) -> Shard:
    """The shard at that index. Its hint means what the original one meant, and may be written otherwise."""
    hint = shards.hint_table[shards.hints[index]]
    return Shard(shards.ids[index], float(shards.capacities[index]), hint_text(hint))


def taken(shards: Shards, indexes: NDArray[np.integer[Any]]) -> Shards:
    """The shards at those indexes, in that order."""
    result = Shards(
        shards.namespace,
        [shards.ids[index] for index in indexes.tolist()],
        shards.capacities[indexes],
        shards.hints[indexes],
        shards.hint_table,
    )
    vars(result)["keys"] = shards.keys[indexes]  # known already, and the costliest of the columns
    return result


class Movement(Enum):
    """What a strategy promises to leave where it is when nodes are added, removed or re-weighted."""

    MINIMAL = (
        "a shard moves only to a node that was added or made heavier, or from one that was removed or made lighter"
    )
    AT_THE_END = "as MINIMAL, if the change is to the last node in natural order"
    NEARLY_MINIMAL = "a few shards more than MINIMAL move; how many is measured, not bounded"


class Placement(Protocol):
    """A strategy over fixed nodes and parameters. Whatever depends on those alone has been worked out.

    Laws, held by tests/property for every strategy registered: `place` is the first of `rank`; `assign` is `place` of
    each shard, in any order and any grouping; `reassign` is `assign`. None depends on the order of the nodes given, on
    hash seeds, time or chance.
    """

    @property
    def nodes(self) -> Sequence[Node]:
        """Ordered by id."""
        ...

    def place(self, namespace: str, shard: Shard) -> str:
        """The owner's node id. Plain integers all the way: the definition that the other forms agree with."""
        ...

    def rank(self, namespace: str, shard: Shard) -> Sequence[str]:
        """Every node id once, best first."""
        ...

    def assign(self, shards: Shards) -> Owners: ...

    def reassign(self, shards: Shards, owners: Owners, before: Placement) -> Owners:
        """What `assign(shards)` gives, knowing that `before.assign(shards)` gave `owners`: only what may move is
        worked out again. `before` is the same strategy with the same parameters over other nodes."""
        ...


class Strategy(Protocol):
    """A pure function from shards, nodes and parameters to owners.

    `algorithm_version` changes whenever the same input may give another owner. Plug-ins implement this Protocol and
    are found through the entry-point group `omnirelay.strategies`.

    A strategy with a member `keeps_owners` that is True places only shards that no eligible node owns; its Placement,
    whose laws are the same, says where those go. Then owners are a function of present owners as well, and planning
    once more moves nothing (`sticky.py`).
    """

    @property
    def name(self) -> str: ...

    @property
    def algorithm_version(self) -> int: ...

    @property
    def parameters(self) -> Mapping[str, Parameter]: ...

    @property
    def movement(self) -> Movement: ...

    def prepare(self, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> Placement:
        """`nodes` are distinct, valid and at least one; `parameters` are valid and complete, defaults filled in.

        Raises Infeasible where no placement over these nodes is possible.
        """
        ...
