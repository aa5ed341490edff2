"""Strategies and parameters as a configuration may name them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from strategies.checking import PlacementFailed
from strategies.constraints import CONSTRAINTS
from strategies.model import Infeasible, Node, Placement, Shards
from strategies.parameters import IntegerParameter
from strategies.registry import BUILT_IN, DEFAULT_STRATEGY, Registry
from tests.support.fake_strategies import Mixed

REGISTRY = Registry()
NAMES = [strategy.name for strategy in BUILT_IN]
KNOWN = "known are jump, locality, maglev, rendezvous, ring, sticky"


class Named(Mixed):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def test_the_strategies_are_those_of_the_design() -> None:
    assert NAMES == ["rendezvous", "ring", "locality", "maglev", "jump", "sticky"]
    assert [strategy.name for strategy in REGISTRY] == NAMES
    assert DEFAULT_STRATEGY == "rendezvous"


@pytest.mark.parametrize("name", NAMES)
def test_a_known_strategy_is_accepted(name: str) -> None:
    assert name in REGISTRY
    assert REGISTRY.problem(name) is None
    assert REGISTRY[name].name == name


@pytest.mark.parametrize(
    ("written", "meant"), [("rendevous", "rendezvous"), ("rings", "ring"), ("localty", "locality"), ("Jump", "jump")]
)
def test_a_misspelt_strategy_hears_which_was_probably_meant(written: str, meant: str) -> None:
    assert REGISTRY.problem(written) == f"there is no strategy '{written}': {KNOWN}; did you mean {meant}?"


@pytest.mark.parametrize("name", ["", "xyz", "\ud800", "x" * 100_000])
def test_a_strategy_like_none_we_have_hears_which_there_are(name: str) -> None:
    problem = REGISTRY.problem(name)
    assert problem is not None
    assert problem.endswith(f": {KNOWN}")
    assert problem.isascii()
    assert len(problem) < 200


@pytest.mark.parametrize(
    ("strategy", "parameters"),
    [
        ("ring", {}),
        ("ring", {"virtualNodes": 1}),
        ("ring", {"virtualNodes": 4_096}),
        ("locality", {"mode": "strict", "regionBoost": 16, "zoneBoost": 64, "preferredLabels": "disk=ssd"}),
        ("maglev", {"tableSize": 101}),
        ("jump", {"selector": "disk=ssd", "maxLoadPercent": None, "maxShardsPerNode": 1}),
        ("rendezvous", {name: parameter.default for name, parameter in CONSTRAINTS.items()}),
    ],
)
def test_parameters_within_their_rules_are_accepted(strategy: str, parameters: dict[str, Any]) -> None:
    assert list(REGISTRY.parameter_problems(strategy, parameters)) == []


@pytest.mark.parametrize("value", [0, 4_097, -1, 1.0, "160", True, None, []])
def test_a_number_out_of_its_range_is_refused(value: object) -> None:
    problems = list(REGISTRY.parameter_problems("ring", {"virtualNodes": value}))
    assert problems == [("virtualNodes", "must be a whole number from 1 to 4,096")]


@pytest.mark.parametrize("value", ["Prefer", "", 1, None, [], {}])
def test_a_choice_that_is_none_is_refused(value: object) -> None:
    assert list(REGISTRY.parameter_problems("locality", {"mode": value})) == [("mode", "must be one of prefer, strict")]


@pytest.mark.parametrize("value", [100, 102, 65_536, 1_000_004, True, None, "101"])
def test_a_table_size_that_is_no_prime_in_range_is_refused(value: object) -> None:
    assert [name for name, _ in REGISTRY.parameter_problems("maglev", {"tableSize": value})] == ["tableSize"]


@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_takes_the_constraints(name: str) -> None:
    assert REGISTRY.parameters(name).items() >= CONSTRAINTS.items()
    assert list(REGISTRY.parameter_problems(name, {"replicas": 0, "spread": "rack"})) == [
        ("replicas", "must be a whole number from 1 to 16"),
        ("spread", "must be one of none, zone, region"),
    ]


def test_a_misspelt_parameter_hears_which_was_probably_meant() -> None:
    known = "loadBy, maxLoadPercent, maxShardsPerNode, replicas, selector, spread, virtualNodes"
    assert list(REGISTRY.parameter_problems("ring", {"virtualnodes": 1})) == [
        ("virtualnodes", f"there is no parameter 'virtualnodes': known are {known}; did you mean virtualNodes?")
    ]


def test_a_parameter_of_another_strategy_is_none_of_this_one() -> None:
    problems = dict(REGISTRY.parameter_problems("rendezvous", {"virtualNodes": 1}))
    assert problems["virtualNodes"].startswith("there is no parameter 'virtualNodes': known are loadBy, ")


def test_contradictions_are_found_once_each_value_is_right() -> None:
    contradictory = {"selector": "a,!a"}
    assert list(REGISTRY.parameter_problems("ring", contradictory)) == [
        ("selector", "matches no node, whatever its labels: a, !a")
    ]
    wrong = contradictory | {"replicas": 0}
    assert [name for name, _ in REGISTRY.parameter_problems("ring", wrong)] == ["replicas"]


def test_a_configuration_is_completed_with_defaults() -> None:
    assert REGISTRY.complete("ring", {"replicas": 3}) == {
        "virtualNodes": 160,
        "selector": "",
        "maxLoadPercent": None,
        "loadBy": "count",
        "maxShardsPerNode": None,
        "replicas": 3,
        "spread": "none",
    }


def test_a_default_written_out_is_the_same_configuration() -> None:
    assert REGISTRY.digest("ring", {}) == REGISTRY.digest("ring", {"virtualNodes": 160})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_a_constraint_at_its_default_is_no_part_of_the_configuration(name: str, constraint: str) -> None:
    """So that another one can be added without changing any digest that is stored."""
    assert REGISTRY.digest(name, {constraint: CONSTRAINTS[constraint].default}) == REGISTRY.digest(name, {})


def test_the_order_of_parameters_does_not_count() -> None:
    one = REGISTRY.digest("locality", {"zoneBoost": 2, "regionBoost": 3, "replicas": 2, "spread": "zone"})
    assert one == REGISTRY.digest("locality", {"spread": "zone", "replicas": 2, "regionBoost": 3, "zoneBoost": 2})


def test_another_strategy_or_value_is_another_configuration() -> None:
    configurations: list[tuple[str, dict[str, Any]]] = [
        *((name, {}) for name in NAMES),
        ("ring", {"virtualNodes": 161}),
        ("locality", {"mode": "strict"}),
        ("locality", {"zoneBoost": 65}),
        ("ring", {"selector": "disk=ssd"}),
        ("ring", {"maxLoadPercent": 110}),
        ("ring", {"maxLoadPercent": 110, "loadBy": "capacity"}),
        ("ring", {"maxShardsPerNode": 110}),
        ("ring", {"replicas": 2}),
        ("ring", {"replicas": 2, "spread": "zone"}),
    ]
    assert len({REGISTRY.digest(*configuration) for configuration in configurations}) == len(configurations)


@pytest.mark.parametrize(
    ("name", "given", "digest"),
    [
        ("rendezvous", {}, "1c374407db097632af479d8c33a89fe3f57d9ba9d7ed48b126e9806fbd828517"),
        ("ring", {"virtualNodes": 160}, "3613786711b3ac046792c934518681511ca63e2a793d0da70aed037318519482"),
        (
            "locality",
            {"mode": "prefer", "regionBoost": 16, "zoneBoost": 64},
            "8c99c8f8af58185b4ad675c70815969c33f31fe575996209f57e29d914e13d55",
        ),
        ("rendezvous", {"maxLoadPercent": 110}, "668baaecac41d371ec637dfcda5284213f20579f7c869769d64745b1d504b113"),
    ],
)
def test_the_digest_of_a_configuration_never_changes(name: str, given: dict[str, Any], digest: str) -> None:
    """It is stored: another value for the same configuration would look like a reconfiguration.

    sha256sum of ["rendezvous",1,{}], of ["ring",1,{"virtualNodes":160}], of ["locality",1,{"labelBoost":4,
    "mode":"prefer","preferredLabels":"","regionBoost":16,"zoneBoost":64}] without the white space, and of
    ["rendezvous",1,{"maxLoadPercent":110}].
    """
    assert REGISTRY.digest(name, given) == digest


def test_a_plug_in_stands_beside_our_own() -> None:
    registry = Registry([Named("mine")])
    assert [strategy.name for strategy in registry] == [*NAMES, "mine"]
    assert "mine" not in REGISTRY
    placer = registry.placer("mine", {"selector": "node!=c"}, [Node("c"), Node("b"), Node("a")])
    assert set(placer.owners(Shards.named("ns", [f"shard-{place}" for place in range(20)])).tolist()) == {0, 1}


def test_a_plug_in_is_checked() -> None:
    class Raising(Mixed):
        def prepare(self, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> Placement:  # noqa: ARG002
            raise RuntimeError("no")

    with pytest.raises(PlacementFailed, match=r"^strategy mixed raised RuntimeError in prepare: no$"):
        Registry([Raising()]).placer("mixed", {}, [Node("a")])


@pytest.mark.parametrize("names", [["ring"], ["mine", "mine"]])
def test_a_plug_in_whose_name_is_taken_is_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match=rf"^strategy {names[-1]} exists already$"):
        Registry([Named(name) for name in names])


def test_a_plug_in_with_a_parameter_that_all_have_is_refused() -> None:
    plug_in = Named("mine")
    plug_in.parameters = {"replicas": IntegerParameter(1, 1, 9)}
    with pytest.raises(ValueError, match=r"^strategy mine: every strategy has a parameter replicas already$"):
        Registry([plug_in])


@pytest.mark.parametrize("name", NAMES)
def test_a_configuration_without_eligible_nodes_is_infeasible(name: str) -> None:
    with pytest.raises(Infeasible, match=r"^selector 'disk=ssd' matches none of 1 node$"):
        REGISTRY.placer(name, {"selector": "disk=ssd"}, [Node("a")])


@pytest.mark.parametrize("name", NAMES)
def test_every_strategy_places_within_bounds(name: str) -> None:
    nodes = [Node(f"node-{place}", weight) for place, weight in enumerate([1, 1, 2, 4])]
    placer = REGISTRY.placer(name, {"maxLoadPercent": 100}, nodes)
    owners = placer.owners(Shards.named("ns", [f"shard-{place}" for place in range(800)])).tolist()
    assert [owners.count(place) for place in range(4)] == [100, 100, 200, 400]


@dataclass(frozen=True)
class Judging:
    """A Parameter whose rule is `judge`."""

    judge: Callable[[object], Any]
    default: object = 1
    rule: str = "whatever it takes to be right"

    def problem(self, value: object) -> str | None:
        answer: str | None = self.judge(value)
        return answer


@pytest.mark.parametrize(
    ("judge", "problem"),
    [
        (lambda value: value < 3, "its rule failed: TypeError: '<' not supported between instances of 'str' and 'int'"),
        (
            lambda _: Path("/nowhere/\udcff").read_text(),
            "its rule failed: FileNotFoundError: [Errno 2] No such file or dir",
        ),
        (lambda _: "must not be \ud800", r"must not be \ud800"),
    ],
)
def test_a_rule_of_a_plug_in_that_fails_is_a_problem(judge: Callable[[object], Any], problem: str) -> None:
    plug_in = Named("mine")
    plug_in.parameters = {"depth": Judging(judge)}
    (found,) = Registry([plug_in]).parameter_problems("mine", {"depth": "x"})
    assert found[0] == "depth"
    assert found[1].startswith(problem)
    assert found[1].encode()


def test_a_rule_of_a_plug_in_that_finds_nothing_wrong_finds_nothing_wrong() -> None:
    plug_in = Named("mine")
    plug_in.parameters = {"depth": Judging(lambda _: None)}
    assert list(Registry([plug_in]).parameter_problems("mine", {"depth": "x"})) == []
