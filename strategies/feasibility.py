"""Whether a configuration can place so many shards on these nodes, before any is placed, and after losing a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from strategies.model import Node, Strategy
from strategies.placing import eligible_nodes, nodes_obstacle


@runtime_checkable
class Foreseeing(Protocol):
    """A strategy for which it is known without a preparation whether it can place."""

    def obstacle(self, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> tuple[str | None, str] | None:
        """Null, or the parameter that is in the way (null: none of them) and why: what `prepare` would raise."""
        ...


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why there can be no placement. `parameter` is the one to be changed, null where it is the nodes."""

    parameter: str | None
    message: str


class Feasibility:
    """Of one configuration over these nodes, which may own shards if the selector matches them.

    Parameters are valid and complete. Shards that stay on other nodes are not known here: room is for all of them.
    """

    def __init__(self, strategy: Strategy, parameters: Mapping[str, Any], nodes: Sequence[Node]) -> None:
        self._parameters = parameters
        self._nodes = len(nodes)
        eligible = eligible_nodes(nodes, parameters)
        self._eligible = len(eligible)
        self._strategys: tuple[str | None, str] | None = None
        if eligible and isinstance(strategy, Foreseeing):
            own = {name: parameters[name] for name in strategy.parameters}
            self._strategys = strategy.obstacle(eligible, own)

    def obstacle(self, shards: int) -> Obstacle | None:
        """Why so many shards cannot be placed."""
        found = nodes_obstacle(self._eligible, self._nodes, self._parameters) or self._strategys
        return self._no_room(shards, self._eligible) if found is None else Obstacle(*found)

    def obstacle_after_a_loss(self, shards: int) -> Obstacle | None:
        """Why they could not be placed any more without one of the nodes; for configurations with an obstacle now, or
        with a single node that can be lost, null."""
        left = self._eligible - 1
        if not left or self.obstacle(shards) is not None:
            return None
        if left < (replicas := self._parameters["replicas"]):
            return Obstacle("replicas", f"{replicas} replicas need {replicas} nodes, and there are no more than that")
        return self._no_room(shards, left)

    def _no_room(self, shards: int, nodes: int) -> Obstacle | None:
        most = self._parameters["maxShardsPerNode"]
        if most is None or most * nodes >= shards:
            return None
        room = f"there is room for {most * nodes:,} on {nodes:,} node{'s' * (nodes != 1)}"
        return Obstacle("maxShardsPerNode", f"{shards:,} shards do not fit: with maxShardsPerNode {most} {room}")
