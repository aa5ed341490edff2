"""What becomes of plug-ins that do not keep their promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from strategies.checking import Checked, PlacementFailed
from strategies.model import Infeasible, Node, Owners, Placement, Shard, Shards, Strategy
from tests.support.fake_strategies import Mixed, MixedPlacement

NODES = [Node("b"), Node("a"), Node("c")]
SHARDS = Shards.named("ns", [f"shard-{place}" for place in range(50)])


class Faulty(Mixed):
    """`make` gives its placements."""

    def __init__(self, make: Callable[[Sequence[Node]], Placement]) -> None:
        super().__init__()
        self._make = make

    def prepare(self, nodes: Sequence[Node], parameters: Mapping[str, Any]) -> Placement:  # noqa: ARG002
        return self._make(nodes)


class Answers(MixedPlacement):
    """A placement whose methods return what they are given, whatever the types."""

    def __init__(self, nodes: Sequence[Node], **answers: Any) -> None:
        super().__init__(nodes)
        for method, answer in answers.items():
            setattr(self, method, answer if callable(answer) else lambda *_, answer=answer: answer)


def answering(**answers: Any) -> Placement:
    return Checked(Faulty(lambda nodes: Answers(nodes, **answers))).prepare(NODES, {})


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def test_a_plug_in_that_keeps_the_laws_answers_as_without_checks() -> None:
    checked, plain = Checked(Mixed()).prepare(NODES, {"depth": 3}), MixedPlacement(NODES)
    shard = Shard("shard-0")
    assert checked.nodes == plain.nodes
    assert checked.place("ns", shard) == plain.place("ns", shard)
    assert checked.rank("ns", shard) == plain.rank("ns", shard)
    assert np.array_equal(checked.assign(SHARDS), plain.assign(SHARDS))
    assert np.array_equal(checked.reassign(SHARDS, checked.assign(SHARDS), checked), plain.assign(SHARDS))


def test_it_is_known_by_what_the_plug_in_says_of_itself() -> None:
    strategy, checked = Mixed(), Checked(Mixed())
    assert (checked.name, checked.algorithm_version) == ("mixed", 1)
    assert (checked.parameters, checked.movement) == (strategy.parameters, strategy.movement)


@pytest.mark.parametrize("method", ["place", "rank", "assign"])
def test_what_a_method_raises_is_a_failed_placement(method: str) -> None:
    error = ZeroDivisionError("a\nb")
    placement = answering(**{method: raising(error)})
    with pytest.raises(
        PlacementFailed, match=rf"^strategy mixed raised ZeroDivisionError in {method}: a\nb$"
    ) as raised:
        placement.assign(SHARDS) if method == "assign" else getattr(placement, method)("ns", Shard("shard-0"))
    assert raised.value.__cause__ is error
    assert (raised.value.strategy, raised.value.what[:7]) == ("mixed", "raised ")


def test_what_preparing_raises_is_a_failed_placement() -> None:
    with pytest.raises(PlacementFailed, match=r"^strategy mixed raised KeyError in prepare: 'x'$"):
        Checked(Faulty(raising(KeyError("x")))).prepare(NODES, {})


def test_a_long_story_is_cut_short() -> None:
    with pytest.raises(PlacementFailed) as raised:
        answering(place=raising(ValueError("x" * 10_000))).place("ns", Shard("shard-0"))
    assert len(str(raised.value)) < 600


UNDECODABLE = "no such file: '/data/\udcff\udc80'"


@pytest.mark.parametrize("method", ["place", "rank", "assign"])
def test_what_cannot_be_encoded_is_told_in_escapes(method: str) -> None:
    for error, expected in [(OSError(UNDECODABLE), PlacementFailed), (Infeasible(UNDECODABLE), Infeasible)]:
        placement = answering(**{method: raising(error)})
        with pytest.raises(expected) as raised:
            placement.assign(SHARDS) if method == "assign" else getattr(placement, method)("ns", Shard("shard-0"))
        assert str(raised.value).encode().endswith(rb"no such file: '/data/\udcff\udc80'")


@pytest.mark.parametrize(("kind", "expected"), [(OSError, PlacementFailed), (Infeasible, Infeasible)])
def test_so_it_is_where_preparing_raises(kind: type[Exception], expected: type[Exception]) -> None:
    with pytest.raises(expected, match=r"/data/\\udcff\\udc80'$"):
        Checked(Faulty(raising(kind(UNDECODABLE)))).prepare(NODES, {})


def test_other_letters_are_left_as_they_are() -> None:
    with pytest.raises(PlacementFailed, match=r"in place: Fläche 🗺$"):
        answering(place=raising(ValueError("Fläche 🗺"))).place("ns", Shard("shard-0"))


@pytest.mark.parametrize(("kind", "expected"), [(Exception, PlacementFailed), (Infeasible, Infeasible)])
def test_an_exception_that_cannot_be_told_is_one_all_the_same(kind: type[Exception], expected: type[Exception]) -> None:
    class Mute(kind):  # type: ignore[misc, valid-type]
        def __str__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(expected, match=r"\(it cannot be shown: RuntimeError\)$"):
        answering(place=raising(Mute())).place("ns", Shard("shard-0"))


def test_infeasible_is_an_answer() -> None:
    with pytest.raises(Infeasible, match=r"^too few$"):
        answering(assign=raising(Infeasible("too few"))).assign(SHARDS)
    with pytest.raises(Infeasible, match=r"^none$"):
        Checked(Faulty(raising(Infeasible("none")))).prepare(NODES, {})


@pytest.mark.parametrize("nodes", [NODES[:2], [*NODES, Node("d")], []])
def test_a_placement_over_other_nodes_is_refused(nodes: list[Node]) -> None:
    with pytest.raises(PlacementFailed, match=r"over other nodes than it was given, or not ordered by id$"):
        Checked(Faulty(lambda _: MixedPlacement(nodes))).prepare(NODES, {})


@pytest.mark.parametrize("owner", ["d", None, 0, [], ["a"]])
def test_an_owner_that_is_no_node_is_refused(owner: object) -> None:
    with pytest.raises(
        PlacementFailed, match=r"^strategy mixed placed shard shard-0 on .* which is none of the nodes$"
    ):
        answering(place=owner).place("ns", Shard("shard-0"))


@pytest.mark.parametrize("rank", [[], ["a", "b"], ["a", "b", "b"], ["a", "b", "c", "c"], ["a", "b", "d"], "abd"])
def test_a_rank_that_is_no_permutation_is_refused(rank: object) -> None:
    with pytest.raises(PlacementFailed, match=r"^strategy mixed did not rank each node once for shard shard-0$"):
        answering(rank=rank).rank("ns", Shard("shard-0"))


@pytest.mark.parametrize("rank", [None, 1, [[], [], []]])
def test_a_rank_that_is_no_sequence_of_ids_is_refused(rank: object) -> None:
    with pytest.raises(PlacementFailed, match=r"^strategy mixed raised TypeError in rank: "):
        answering(rank=rank).rank("ns", Shard("shard-0"))


def test_a_rank_that_contradicts_the_owner_is_refused() -> None:
    with pytest.raises(PlacementFailed, match=r"^strategy mixed ranked a first for shard x, but placed it on b$"):
        answering(rank=["a", "b", "c"], place="b").rank("ns", Shard("x"))


@pytest.mark.parametrize(
    "owners",
    [
        None,
        [0] * 50,
        np.zeros(49, np.int32),
        np.zeros((50, 1), np.int32),
        np.zeros(50, np.int64),
        np.zeros(50),
        np.zeros(50, ">i4"),
        np.array(["a"] * 50),
    ],
)
def test_an_assignment_of_another_shape_or_type_is_refused(owners: object) -> None:
    with pytest.raises(PlacementFailed, match=r"did not assign 50 shards with an int32 array of as many places$"):
        answering(assign=owners).assign(SHARDS)


@pytest.mark.parametrize("place", [-1, 3, 2**31 - 1])
def test_an_index_out_of_range_is_refused(place: int) -> None:
    owners = np.zeros(50, np.int32)
    owners[7] = place
    with pytest.raises(PlacementFailed, match=rf"assigned shard shard-7 to place {place}, where places are 0 to 2$"):
        answering(assign=owners).assign(SHARDS)


@pytest.mark.parametrize("count", [1, 50, 64, 65, 500])
def test_an_assignment_that_contradicts_the_owners_of_single_shards_is_refused(count: int) -> None:
    """Law 2, on the first 64 shards by id, whatever their order."""
    shards = Shards.named("ns", [f"shard-{at:03}" for at in range(count)][::-1])
    owners = MixedPlacement(NODES).assign(shards)
    assert np.array_equal(answering().assign(shards), owners)
    last = min(count, 64) - 1
    wrong = dict(zip(shards.ids, owners.tolist(), strict=True))
    wrong[f"shard-{last:03}"] = (wrong[f"shard-{last:03}"] + 1) % 3

    def assign(given: Shards) -> Owners:
        return np.array([wrong[shard_id] for shard_id in given.ids], np.int32)

    with pytest.raises(
        PlacementFailed, match=rf"^strategy mixed assigned shard shard-{last:03} to [abc], but placed it on [abc]$"
    ):
        answering(assign=assign).assign(shards)


def test_owners_of_single_shards_are_asked_for_64_at_most() -> None:
    asked = []
    plain = MixedPlacement(NODES)

    def place(namespace: str, shard: Shard) -> str:
        asked.append(shard.shard_id)
        return plain.place(namespace, shard)

    shards = Shards.named("ns", [f"shard-{at:03}" for at in range(500)][::-1])
    answering(place=place, assign=plain.assign).assign(shards)
    assert asked == [f"shard-{at:03}" for at in range(64)]


def refusal_of(strategy: Strategy) -> str:
    with pytest.raises(PlacementFailed) as raised:
        Checked(strategy).prepare(NODES, {}).assign(SHARDS)
    return str(raised.value)


def test_an_assignment_that_is_another_the_second_time_is_refused() -> None:
    calls = iter([np.zeros(50, np.int32), np.ones(50, np.int32)])
    assert refusal_of(Faulty(lambda nodes: Answers(nodes, assign=lambda _: next(calls)))) == (
        "strategy mixed assigned 50 of 50 shards differently when run again with nodes and shards in the opposite "
        "order: shard-0 to a, then to b"
    )


def test_an_assignment_in_an_array_that_is_used_again_is_compared_all_the_same() -> None:
    kept = np.zeros(50, np.int32)

    def assign(_: Shards) -> Owners:
        kept[:] += 1
        return kept

    assert "assigned 50 of 50 shards differently" in refusal_of(Faulty(lambda nodes: Answers(nodes, assign=assign)))


def test_an_assignment_by_the_order_of_shards_is_refused() -> None:
    in_turn = (np.arange(50) % 3).astype(np.int32)
    assert "shards differently when run again" in refusal_of(Faulty(lambda nodes: Answers(nodes, assign=in_turn)))


def test_an_assignment_by_the_order_of_nodes_is_refused() -> None:
    def first(nodes: Sequence[Node]) -> Placement:
        place = sorted(node.node_id for node in nodes).index(nodes[0].node_id)
        return Answers(nodes, assign=np.full(50, place, np.int32))

    assert "assigned 50 of 50 shards differently" in refusal_of(Faulty(first))
