"""What operations ask for, in records, and the budgets that it is taken from."""

from __future__ import annotations

from typing import Any

import pytest

from graph.auth.principal import UNRESTRICTED
from graph.execution.budgets import CALLERS, DEFAULT_COSTS, Budgets, CostControl, CostExceeded, CostLimits
from graph.execution.cost import OperationCost
from graph.operations import operation, operation_names
from persistence.model.fields import MAX_SHARDS_PER_CHANGE
from persistence.model.paging import MAX_PAGE
from tests.support.shared_schema import one_schema


def cost(text: str, name: str | None = None) -> OperationCost:
    documents = one_schema().documents
    document = documents.valid(text)
    assert document is not None, documents.problems_of(text)
    found = documents.cost(document, name, UNRESTRICTED)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "variables", "records"),
    [
        ('{ shard(namespace: "a", shardId: "b") { version } }', {}, 1),
        ('{ shard(namespace: "a", shardId: "b", asOf: {revision: "1"}) { version } }', {}, 25),
        ("{ shards { nodes { shardId } } }", {}, 1 + 50),
        ("{ shards(first: 7) { nodes { shardId } } }", {}, 1 + 7),
        ("{ shards(last: 7) { edges { node { shardId } } } }", {}, 1 + 7),
        ("{ shards(first: 7) { nodes { shardId } edges { cursor } } }", {}, 1 + 14),
        ("{ shards(first: 7) { revision } }", {}, 1),
        ("{ shards(first: 7) { totalCount } }", {}, 1 + 10),
        ('{ shards(first: 7, filter: {namespace: "a"}) { totalCount } }', {}, 1 + 100),
        ("{ a: shards(first: 7) { nodes { shardId } } b: shards(first: 8) { nodes { shardId } } }", {}, 2 + 15),
        ("{ ...f } fragment f on Query { a: shards(first: 7) { ... { nodes { shardId } } } }", {}, 1 + 7),
        ("{ shardHistory(first: 7) { nodes { shardId } totalCount } }", {}, 25 + 7 + 100),
        ("{ rebalancePlans(first: 4) { nodes { id changes(first: 3) { nodes { id } } } } }", {}, 25 + 4 * (1 + 25 + 3)),
        ("{ rebalancePlans(first: 4) { nodes { id proposal { id } } } }", {}, 25 + 4 * (1 + 100)),
        ("query($n: Int) { shards(first: $n) { nodes { shardId } } }", {"n": 9}, 1 + 9),
        ("query($n: Int) { shards(first: $n) { nodes { shardId } } }", {}, 1 + 50),
        ("query($n: Int) { shards(last: $n) { nodes { shardId } } }", {"n": None}, 1 + 50),
        ("query($n: Int = 11) { shards(first: $n) { nodes { shardId } } }", {}, 1 + 11),
        ("query($n: Int) { shards(first: $n) { nodes { shardId } } }", {"n": 5.0}, 1 + 5),
        ("query($n: Int) { shards(first: $n) { nodes { shardId } } }", {"n": 1e300}, 1 + 50),
        ("query($n: Int) { shards(first: $n) { nodes { shardId } } }", {"n": float("nan")}, 1 + 50),
        ("query($n: Int) { shards(first: $n) { nodes { shardId } } }", {"n": -3}, 1),
        ("query($n: Int) { shards(first: $n) { nodes { shardId } } }", {"n": "9"}, 1 + 50),
        ("query($n: Int) { shards(first: $n) { nodes { shardId } } }", {"n": 10**30}, 1 + 50),
        ("query($n: Int) { shards(first: $n, last: 3) { nodes { shardId } } }", {"n": 2}, 1 + 3),
        ("{ shards(first: 99999) { nodes { shardId } } }", {}, 1 + 500),
        ('{ shardsByKey(keys: [{namespace: "a", shardId: "b"}]) { shards { version } } }', {}, 1 + 1),
        ("query($k: [ShardKeyInput!]!) { shardsByKey(keys: $k) { shards { version } } }", {"k": [{}] * 3}, 1 + 3),
        ("query($k: [ShardKeyInput!]!) { shardsByKey(keys: $k) { shards { version } } }", {"k": {}}, 1 + 1),
        ("query($k: [ShardKeyInput!]!) { shardsByKey(keys: $k) { shards { version } } }", {}, 1),
        ("{ simulateRebalance(input: {}) { moveCount } }", {}, 2_500),
        ("{ head { revision } head { cursor } }", {}, 50),
        ("{ __schema { types { name } } }", {}, 6_000),
        ('{ __type(name: "Query") { name } __typename }', {}, 600),
        ("subscription { shardDiffs { diffs { shardId } } }", {}, 25),
    ],
)
def test_pages_count_what_they_may_hold_times_what_they_are_in(
    text: str, variables: dict[str, Any], records: int
) -> None:
    assert cost(text).records(variables) == records


def test_a_record_counts_more_if_much_of_it_is_selected() -> None:
    wide = "{ shardHistory(first: 10) { nodes { %s } } }"
    assert cost(wide % " ".join(f"a{n}: shardId" for n in range(49))).records({}) == 25 + 10
    assert cost(wide % " ".join(f"a{n}: shardId" for n in range(50))).records({}) == 25 + 20
    nested = " ".join(f"a{n}: current {{ shardId status }}" for n in range(50))
    assert cost(wide % nested).records({}) == 25 + 10 * 4


def test_a_lookup_takes_nothing_from_a_budget_unless_it_asks_for_a_thousand_records() -> None:
    page = "a%d: shards(first: $n) { nodes { shardId } }"
    small, large = (cost("query($n: Int) {" + " ".join(page % each for each in range(pages)) + "}") for pages in (1, 4))
    assert small.is_free
    assert small.charge({"n": MAX_PAGE}) == 0
    assert not large.is_free
    assert (large.charge({"n": 249}), large.charge({"n": MAX_PAGE})) == (0, 200)
    past = cost("query($at: AsOf) { shards(asOf: $at) { nodes { shardId } } }")
    assert past.is_free, "while it is a lookup"
    assert (past.charge({}), past.charge({"at": {"revision": "1"}})) == (0, 75)


def test_the_shards_of_a_change_are_taken_from_the_budget_and_have_a_bound_of_their_own() -> None:
    change = cost("mutation($i: UpdateShardsInput!) { updateShards(input: $i) { __typename } }")
    most: dict[str, Any] = {"i": {"shards": [{}] * MAX_SHARDS_PER_CHANGE}}
    assert (change.records(most), change.charge(most)) == (25, 25 + MAX_SHARDS_PER_CHANGE)
    assert change.charge({"i": None}) == change.charge({"i": {"shards": None}}) == change.charge({"i": 3}) == 25
    text = 'mutation { deleteShards(input: {shards: [{namespace: "a", shardId: "b", expectedVersion: "1"}], change: {reason: "r"}}) { __typename } }'  # noqa: E501
    assert cost(text).charge({}) == 26


@pytest.mark.parametrize("name", sorted(operation_names()))
def test_the_operations_of_front_ends_are_far_below_the_bounds(name: str) -> None:
    found = cost(operation(name))
    assert found.records({"first": MAX_PAGE, "keys": [{}] * MAX_PAGE}) <= DEFAULT_COSTS.operation / 2
    assert found.charge({}) <= DEFAULT_COSTS.rate / 10


def test_what_asks_for_too_much_is_refused_with_what_to_ask_for_instead() -> None:
    refusals: list[str] = []
    control = CostControl(CostLimits(1_000, 10_000, 10), one_schema().documents, refusals.append)
    text = "{ a: shardHistory(first: 500) { nodes { shardId } } b: head { revision } c: changes(first: 500) { nodes { id } } }"  # noqa: E501
    with pytest.raises(CostExceeded) as refused:
        control.take(cost(text), {}, "subject ops")
    assert str(refused.value) == (
        "The operation asks for 1,075 records; at most 1,000 are allowed at once. `a` alone asks for 525. Ask for "
        "smaller pages (`first`), for fewer lists within lists, or for fewer fields at once, page after page."
    )
    assert refused.value.extensions == {
        "cost": {
            "requested": 1_075,
            "taken": 0,
            "limit": 1_000,
            "budget": {"limit": 10_000, "remaining": 10_000, "reset": 0},
            "fields": [
                {"field": "a", "requested": 525},
                {"field": "c", "requested": 525},
                {"field": "b", "requested": 25},
            ],
        }
    }
    assert refused.value.headers == {}
    assert refusals == ["operation"]


def test_a_budget_is_used_up_and_filled_again() -> None:
    now, refusals = [0.0], list[str]()
    control = CostControl(CostLimits(0, 1_000, 10), one_schema().documents, refusals.append, lambda: now[0])
    page = cost("{ changes(first: 500) { nodes { id } } }")
    first = control.take(page, {}, "subject ops")
    assert first.extension() == {
        "requested": 525,
        "taken": 525,
        "limit": None,
        "budget": {"limit": 1_000, "remaining": 475, "reset": 53},
    }
    with pytest.raises(
        CostExceeded, match=r"costs 525 records, and 475 are left of the budget of this subject\."
    ) as refused:
        control.take(page, {}, "subject ops")
    assert refused.value.retry_after == 5
    assert refused.value.headers["retry-after"] == "5"
    assert refused.value.extensions["retryAfter"] == 5
    assert control.take(page, {}, "subject other").taken == 525
    now[0] = 4.9
    with pytest.raises(CostExceeded, match="Try again in 1 s"):
        control.take(page, {}, "subject ops")
    now[0] = 5.0
    assert control.take(page, {}, "subject ops").headers() == {
        "x-ratelimit-limit": "1000",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": "100",
        "x-ratelimit-used": "525",
    }
    assert refusals == ["budget"] * 2
    with pytest.raises(CostExceeded, match="a document of 300 characters costs as much as 100 records, and 0 are"):
        control.take_document(300, "subject ops")
    control.take_document(0, "subject ops")


def test_what_no_budget_would_suffice_for_takes_a_full_one() -> None:
    budgets = Budgets(CostLimits(0, 100, 10), lambda: 0.0)
    assert budgets.take("a", 1_000) == ((100, 0, 10), None)
    assert budgets.take("a", 1_000) == ((100, 0, 10), 10)


def test_limits_of_zero_are_none() -> None:
    control = CostControl(CostLimits(0, 1, 0), one_schema().documents)
    text = "{ " + " ".join(f"a{n}: changes(first: 500) {{ nodes {{ id }} }}" for n in range(100)) + " }"
    charge = control.take(cost(text), {}, "a")
    assert (charge.limit, charge.budget, charge.headers()) == (None, None, {})
    control.take_document(10**9, "a")


def test_the_callers_that_are_remembered_are_bounded_and_those_who_asked_last() -> None:
    budgets = Budgets(CostLimits(0, 100, 1), lambda: 0.0)
    for number in range(CALLERS):
        budgets.take(f"caller {number}", 10)
    budgets.take("caller 0", 10)
    budgets.take("another", 10)
    assert len(budgets) == CALLERS
    assert budgets.take("caller 0", 0)[0].remaining == 80
    assert budgets.take("caller 1", 0)[0].remaining == 100
    assert len(budgets) == CALLERS, "who takes nothing is not remembered"


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    now = [10.0]
    budgets = Budgets(CostLimits(0, 100, 1), lambda: now[0])
    budgets.take("a", 50)
    now[0] = 5.0
    assert budgets.take("a", 0)[0].remaining == 50
