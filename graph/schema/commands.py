"""What mutations answer beside the store's outcomes."""

from dataclasses import dataclass

from persistence.errors import FieldError, InvalidArgument
from persistence.planning import planner
from persistence.planning.preflight import DrainPreflight
from persistence.planning.proposal import Violation
from persistence.records import Change, Node


@dataclass(frozen=True, slots=True)
class InvalidInput:
    """InvalidArgument as a value: GraphQL takes a returned exception for a raised one."""

    errors: tuple[FieldError, ...]

    @classmethod
    def of(cls, refused: InvalidArgument) -> "InvalidInput":
        return cls(refused.errors)


@dataclass(frozen=True, slots=True)
class PlacementImpossible:
    """The planner's exception as a value, for the same reason."""

    violations: tuple[Violation, ...]

    @classmethod
    def of(cls, impossible: planner.PlacementImpossible) -> "PlacementImpossible":
        return cls(impossible.violations)


@dataclass(frozen=True, slots=True)
class NodeDrained:
    """The node is being drained; `preflight` was made right before."""

    change: Change
    node: Node
    preflight: DrainPreflight
    replayed: bool


@dataclass(frozen=True, slots=True)
class DrainBlocked:
    """Nothing was written: shards of the node would have to stay."""

    preflight: DrainPreflight
