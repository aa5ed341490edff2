"""What a plan is narrowed to: nodes that are to be vacated, and reasons to move for. All other shards stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from persistence.errors import FieldError, InvalidArgument
from persistence.model import fields as rules
from persistence.model.fields import Problems, quoted
from persistence.model.outcomes import NotFound
from persistence.model.records import VACATED, MoveReason, Node
from persistence.planning.snapshot import PlacementSnapshot


@dataclass(frozen=True)
class PlanScope:
    """Node ids and reasons, each in order and once; none: all of them. A shard is moved if it is in both.

    Other shards stay where they are, and take the room that they take there.
    """

    vacate: tuple[str, ...] = ()
    only_reasons: tuple[MoveReason, ...] = ()

    @property
    def is_everything(self) -> bool:
        return not self.vacate and not self.only_reasons

    def vacates(self, node_id: str) -> bool:
        """Whether shards of the node may be moved, for one reason or another."""
        return not self.vacate or node_id in self.vacated

    @cached_property
    def vacated(self) -> frozenset[str]:
        """`vacate`, to be looked up for each of a million shards."""
        return frozenset(self.vacate)

    def allows(self, reason: MoveReason) -> bool:
        return not self.only_reasons or reason in self.only_reasons


EVERYTHING: Final = PlanScope()


def read_scope(member: Mapping[str, Any]) -> PlanScope:
    """From the document of a proposal."""
    return PlanScope(tuple(member["vacate"]), tuple(MoveReason(reason) for reason in member["only_reasons"]))


@dataclass(frozen=True, slots=True)
class Narrowing:
    """As it is requested: null is no limit. `zones` are `zone` or `region/zone`; all of their nodes, and those of
    `regions`, are vacated beside `vacate`."""

    vacate: tuple[str, ...] | None = None
    zones: tuple[str, ...] | None = None
    regions: tuple[str, ...] | None = None
    only_reasons: tuple[MoveReason, ...] | None = None

    def add_problems(self, problems: Problems) -> None:
        rules.add_identifiers_problems(problems, "vacate", self.vacate)
        for field, places in (("zones", self.zones), ("regions", self.regions)):
            if places is not None and len(places) > rules.MAX_FILTER_VALUES:
                problems.add(field, f"holds {len(places):,} values; at most {rules.MAX_FILTER_VALUES:,} are allowed")
        for index, reason in enumerate(self.only_reasons or ()):
            if reason is MoveReason.ROLLBACK:
                problems.add(f"onlyReasons[{index}]", f"must be a reason of a rebalance, not {reason}")
        for field, given in (
            ("vacate", self.vacate),
            ("zones", self.zones),
            ("regions", self.regions),
            ("onlyReasons", self.only_reasons),
        ):
            if given is not None and not given:
                problems.add(field, "must name at least one; leave it out where the plan is not to be narrowed")

    @property
    def field(self) -> str:
        """The first that names nodes."""
        return "vacate" if self.vacate else "zones" if self.zones else "regions"

    def scope(self, snapshot: PlacementSnapshot) -> PlanScope | NotFound:
        """What it comes to in this mesh. NotFound names nodes that are neither registered nor own or lead any
        shard.

        Raises InvalidArgument for a zone or region without nodes.
        """
        known = {node.node_id for node in snapshot.nodes}
        unknown = set(self.vacate or ()) - known
        if unknown:
            placed = [shard for shards in snapshot.shards.values() for shard in shards]
            unknown -= {shard.owner_node_id for shard in placed} | {shard.leader_id for shard in placed}
        if unknown:
            return NotFound(nodes=tuple(sorted(unknown)))
        vacated = {*(self.vacate or ()), *_placed(snapshot.nodes, "zones", self.zones or (), _is_in_zone)}
        vacated.update(_placed(snapshot.nodes, "regions", self.regions or (), _is_in_region))
        reasons = set(self.only_reasons or ())
        return PlanScope(tuple(sorted(vacated)), tuple(reason for reason in MoveReason if reason in reasons))


NOT_NARROWED: Final = Narrowing()


def check_vacated(snapshot: PlacementSnapshot, scope: PlanScope, narrowing: Narrowing) -> None:
    """Raises InvalidArgument for nodes that would keep their shards, or be given them back by the next plan."""
    kept = [node for node in snapshot.nodes if node.node_id in scope.vacate and node.status not in VACATED]
    if kept:
        named = ", ".join(f"{node.node_id} ({node.status})" for node in kept[:_NAMED])
        more = f" and {len(kept) - _NAMED:,} more" if len(kept) > _NAMED else ""
        message = f"names {named}{more}: drain what is to be vacated first, or the next plan moves its shards back"
        raise InvalidArgument(FieldError(narrowing.field, message))


_NAMED: Final = 5


def _placed(nodes: Sequence[Node], field: str, places: Sequence[str], is_in: Any) -> Iterator[str]:
    for index, place in enumerate(places):
        inside = [node.node_id for node in nodes if is_in(node, place)]
        if not inside:
            what = field.removesuffix("s")
            raise InvalidArgument(FieldError(f"{field}[{index}]", f"no node is in {what} {quoted(place)}"))
        yield from inside


def _is_in_zone(node: Node, place: str) -> bool:
    region, slash, zone = place.rpartition("/")
    return node.zone == zone and (not slash or node.region == region)


def _is_in_region(node: Node, place: str) -> bool:
    return node.region == place
