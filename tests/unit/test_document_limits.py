"""How large a document may be, and that documents are read once."""

from __future__ import annotations

import asyncio
import itertools
import threading
import weakref
from contextlib import nullcontext
from typing import Any, cast
from unittest import mock

import pytest
from graphql import GraphQLError, get_introspection_query, parse

import graph.execution.documents
from graph.auth.principal import UNRESTRICTED
from graph.execution import limits
from graph.execution.context import Context
from graph.execution.cost import OperationCost, cost_of
from graph.execution.documents import (
    _REMEMBERED,
    MOST_COMPILED_FIELDS,
    MOST_READING,
    SHORT_CHARACTERS,
    Document,
    DocumentCache,
)
from graph.execution.inputs import NotPrepared
from graph.execution.limits import MAX_ALIASES, MAX_DEPTH, MAX_REPEATED, field_count, limit_problems
from graph.execution.workload import Workload
from graph.operations import operation, operation_names
from persistence.errors import Overloaded
from tests.support.shared_schema import one_schema, schema_with_documents_of_its_own


def problems(text: str) -> list[str]:
    return [problem.message for problem in limit_problems(parse(text))]


def nested(levels: int) -> str:
    return "{ a " * levels + "}" * levels


def test_what_people_and_programs_ask_for_is_within_bounds() -> None:
    assert problems(get_introspection_query(input_value_deprecation=True)) == []
    assert problems(nested(MAX_DEPTH)) == []
    assert problems("{ " + " ".join(f"a{n}: a" for n in range(MAX_ALIASES)) + " }") == []


def test_depth_is_bounded_through_fragments_too() -> None:
    assert problems(nested(MAX_DEPTH + 1)) == [
        "The document nests 33 levels deep; at most 32 are allowed. Ask for what is deeper by its id."
    ]
    chain = "{ ...f0 } " + " ".join(f"fragment f{n} on Query {{ ...f{n + 1} }}" for n in range(50))
    assert "levels deep" in problems(chain + " fragment f50 on Query { a }")[0]
    assert "levels deep" in problems("{ " + "... { " * 40 + "a" + " }" * 40 + " }")[0]


def test_aliases_count_as_often_as_their_fragment_is_spread() -> None:
    spread = "fragment f on Query { " + " ".join(f"x{n}: a" for n in range(MAX_ALIASES // 10)) + " } { %s }"
    assert problems(spread % ("...f " * 10)) == []
    assert problems(spread % ("...f " * 10 + "z: a")) == [
        (
            "The document has 201 aliases, with its fragments spread out, and those that are not used; at most 200 are "
            "allowed. Ask for many records by a list, such as `shardsByKey`, or send several documents."
        )
    ]


def test_fragments_that_multiply_are_counted_without_being_spread_out() -> None:
    bomb = "{ ...f0 } " + " ".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(25))
    assert problems(bomb + " fragment f25 on Query { a b }") == [
        (
            f"The document selects {2**26:,} fields, with its fragments spread out, and those that are not used; at "
            "most 2,000 are allowed. Leave out what is not shown, or send what is left as several documents."
        )
    ]


def test_a_fragment_that_spreads_itself_is_left_to_validation() -> None:
    assert problems("{ ...f } fragment f on Query { a ...f }") == []


def test_a_document_is_parsed_once() -> None:
    cache = DocumentCache()
    assert cache.parsed("{ a }") is cache.parsed("{ a }")


def test_what_no_operation_uses_is_counted_as_well() -> None:
    unused = "{ a } fragment f on Query { %s } fragment g on Query { ...f }"
    assert problems(unused % "a") == []
    assert "has 202 aliases" in problems(unused % " ".join(f"a{n}: a" for n in range(101)))[0]
    chain = " ".join(f"fragment f{n} on Query {{ ...f{n + 1} }}" for n in range(50))
    assert "levels deep" in problems("{ a } " + chain + " fragment f50 on Query { a }")[0]


def test_a_name_that_is_repeated_is_bounded_in_each_selection() -> None:
    message = (
        "The document selects `a` 51 times in one place; at most 50 are allowed. Select it once, or, with other "
        "arguments, under aliases."
    )
    assert problems("{ " + "a " * MAX_REPEATED + "}") == []
    assert problems("{ " + "a " * 51 + "}") == [message]
    beside = "{ b } fragment f on Query { c { ... { " + "a " * 25 + "} ... on Query {" + "b: b a: a " * 26 + "} } }"
    assert problems(beside) == [message]
    assert "`...f` 51 times" in problems("{ " + "...f " * 51 + "} fragment f on Query { a }")[0]


def test_inputs_are_bounded_wherever_they_stand() -> None:
    wide = "{" + " ".join(f"a{n}: 1" for n in range(limits.MAX_MEMBERS + 1)) + "}"
    for text in (
        "{ a(b: %s) }",
        "{ a { b(c: {d: [%s]}) } }",
        "query($a: A = %s) { a }",
        "{ a @b(c: %s) }",
        "query($a: A @b(c: %s)) { a }",
        "query @b(c: %s) { a }",
        "{ a } fragment f on Query { ... @b(c: [[%s]]) { a } }",
        "{ a ...f @b(c: %s) } fragment f on Query { b }",
    ):
        assert problems(text % "{a0: 1}") == []
        assert problems(text % wide) == [
            (
                "The document has an input with 101 fields; at most 100 are allowed. No input of the schema has as "
                "many; hand values over as variables."
            )
        ]


def test_a_document_that_is_too_large_is_not_parsed() -> None:
    cache = DocumentCache(1_024)
    with pytest.raises(GraphQLError, match=r"has 1,025 characters; at most 1,024 are allowed\. Hand values over"):
        cache.parsed("{ a }" + " " * 1_020)
    with pytest.raises(GraphQLError, match=r"has more than 5,000 tokens\. Hand values over as variables") as refused:
        DocumentCache().parsed("{ " + "a " * limits.MAX_TOKENS + "}")
    assert refused.value.extensions == {"code": "GRAPHQL_PARSE_FAILED"}


def test_a_trusted_document_may_be_ten_times_as_large() -> None:
    cache, text = DocumentCache(1_024), "{ " + "a " * 5_000 + "}"
    assert cache.problems_of(text)[0].message.startswith("The document has 10,003 characters")
    cache.trust({text, text + " " * 300})
    assert "has 10,303 characters; at most 10,240" in cache.problems_of(text + " " * 300)[0].message
    assert "selects `a` 5,000 times" in cache.problems_of(text)[0].message
    cache.trust(set())
    assert cache.problems_of(text)[0].message.startswith("The document has 10,003 characters")


def test_few_problems_are_reported_and_suggestions_of_small_documents_only() -> None:
    documents = one_schema().documents
    names = " ".join(f"shardx{n}" for n in range(20))
    found = [problem.message for problem in documents.problems_of(f"{{ {names} }}")]
    assert found[0] == "Cannot query field 'shardx0' on type 'Query'. Did you mean 'shard' or 'shards'?"
    assert len(found) == limits.MAX_ERRORS + 1
    assert found[-1] == "Too many validation errors, error limit reached. Validation aborted."
    large = documents.problems_of(f"{{ {names} }} # " + "x" * limits.LONGEST_WITH_SUGGESTIONS)
    assert large[0].message == "Cannot query field 'shardx0' on type 'Query'."


def test_fields_are_compared_until_that_takes_too_long() -> None:
    text = "{ " + f"shards(first: 1) {{ {'revision ' * 40} }} " * 45 + "}"
    (problem,) = one_schema().documents.problems_of(text)
    assert problem.message.startswith("The document is too intricate to be validated")
    assert problem.extensions == {"code": "GRAPHQL_VALIDATION_FAILED"}


def test_the_documents_remembered_are_bounded() -> None:
    cache = DocumentCache()
    first = weakref.ref(cache.parsed("{ a }"))
    for number in range(600):
        cache.parsed(f"{{ a{number} }}")
    assert first() is None


def _used(cache: DocumentCache, text: str, times: int = 2) -> None:
    """By so many requests after the one that it was read for."""
    cache.parsed(text)
    for _ in range(times):
        cache.plan(text, None, UNRESTRICTED)


def _large(number: int) -> str:
    """Of half a megabyte, as it is counted."""
    return "{ " + " ".join(f"a{number}_{at}" for at in range(900)) + " }"


def test_documents_that_come_once_displace_none_that_came_again() -> None:
    cache = DocumentCache()
    _used(cache, "{ a }")
    again, once = weakref.ref(cache.parsed("{ a }")), weakref.ref(cache.parsed("{ b }"))
    for number in range(600):
        cache.parsed(f"{{ a{number} }}")
    assert once() is None
    assert again() is not None


def test_documents_that_come_once_have_an_eighth_of_the_room() -> None:
    cache = DocumentCache()
    for number in range(30):
        cache.parsed(_large(number))
    assert 7 * 2**20 < cache.remembered_bytes <= 8 * 2**20
    for number in range(30):
        _used(cache, _large(number))
    assert cache.remembered_bytes > 14 * 2**20
    assert [cache.to_read(_large(number)) for number in range(30)] == [0] * 30


def test_a_document_that_comes_again_after_it_was_forgotten_is_known_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graph.execution.documents, "_MET", 700)
    cache = DocumentCache()
    cache.parsed("{ a }")
    for number in range(600):
        cache.parsed(f"{{ a{number} }}")
    assert cache.to_read("{ a }") == 5
    cache.parsed("{ a }")
    for number in range(1_000):
        cache.parsed(f"{{ b{number} }}")
    assert cache.to_read("{ a }") == 0
    cache.parsed("{ a0 }")  # of which nothing is known any more
    for number in range(1_000, 1_600):
        cache.parsed(f"{{ b{number} }}")
    assert cache.to_read("{ a0 }") == 6


def test_a_document_is_not_read_again_while_it_is_held() -> None:
    cache = DocumentCache()
    held = cache.parsed("{ a }")
    for number in range(600):
        cache.parsed(f"{{ a{number} }}")
    assert cache.parsed("{ a }") is held


async def test_a_document_is_read_beside_the_event_loop_and_once_for_all_who_wait() -> None:
    cache = schema_with_documents_of_its_own().documents
    texts = ["{ head { revision } }"] * 3 + ["{ nothing }", "{ head"]
    documents = await asyncio.gather(*map(cache.read, texts))
    assert documents[0] is documents[1] is documents[2] is cache.parsed(texts[0])
    assert documents[0].problems == []
    assert [len(document.problems or ()) for document in documents[3:]] == [1, 1]
    assert [cache.to_read(text) for text in (*texts, "{ other }")] == [0] * 5 + [9]


async def test_the_cost_of_an_operation_is_made_beside_the_event_loop_and_once() -> None:
    cache = schema_with_documents_of_its_own().documents
    made_by: list[threading.Thread] = []

    def cost(*given: Any) -> OperationCost:
        made_by.append(threading.current_thread())
        return cost_of(*given)

    with mock.patch.object(graph.execution.documents, "cost_of", cost):
        document = await cache.read("query a { head { revision } } query b { shards { cursor } }", "b")
        found = cache.cost(document, "b", UNRESTRICTED)
        assert found is not None
        assert found.records({}) == 1
        assert await cache.read("{ nothing }") is not None
    assert len(made_by) == 1
    assert made_by[0] is not threading.main_thread()


def test_what_is_refused_is_not_looked_through_for_its_queue() -> None:
    cache = schema_with_documents_of_its_own().documents
    with mock.patch.object(graph.execution.documents, "classify") as classify:
        assert cache.workload("{ " + " ".join(f"nothing{n}" for n in range(1_900)) + " }", None, None).is_lookup
        assert cache.workload("{ ", None, None).is_lookup
    classify.assert_not_called()
    assert cache.workload("{ simulateRebalance(input: {}) { moveCount } }", None, None) is Workload.PLANNING


async def test_a_client_that_leaves_takes_no_document_from_others() -> None:
    cache = schema_with_documents_of_its_own().documents
    leaving, staying = asyncio.create_task(cache.read("{ a }")), asyncio.create_task(cache.read("{ a }"))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).text == "{ a }"
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_the_documents_that_wait_to_be_read_are_bounded() -> None:
    cache = schema_with_documents_of_its_own().documents
    texts, released = [f"{{ a{number} }}" for number in range(MOST_READING + 1)], threading.Event()
    cache._of_short.thread.submit(released.wait)  # noqa: SLF001 - none is read until all wait
    reading = [asyncio.ensure_future(cache.read(text)) for text in texts]
    await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
    released.set()
    found = await asyncio.gather(*reading, return_exceptions=True)
    assert [type(each) for each in found] == [Document] * MOST_READING + [Overloaded]


async def test_a_short_document_does_not_wait_for_long_ones() -> None:
    cache = schema_with_documents_of_its_own().documents
    released = threading.Event()
    cache._of_long.thread.submit(released.wait)  # noqa: SLF001 - a long one is being read until then
    long = asyncio.ensure_future(cache.read("{ a }" + " " * SHORT_CHARACTERS))
    short = "{ a }".ljust(SHORT_CHARACTERS)
    assert (await cache.read(short)).text == short
    assert not long.done()
    released.set()
    assert (await long).problems is not None


async def test_a_long_document_is_read_in_half_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a processor's: the thread pauses for a millisecond after each, and rests in the end for what was left."""
    slept: list[float] = []
    monkeypatch.setattr(graph.execution.documents, "sleep", slept.append)
    monkeypatch.setattr(graph.execution.documents, "perf_counter", lambda: 100.0)
    computed = itertools.count(0.0, 0.0004)
    monkeypatch.setattr(graph.execution.documents, "thread_time", lambda: next(computed))
    cache = schema_with_documents_of_its_own().documents
    long = "{ " + "a { b } " * 700
    for number, ending in enumerate(("}", "} ")):
        before = len(slept)
        await cache.read(long + ending)
        pauses = slept[before + number :]
        assert len(pauses) > 20
        assert set(pauses) == {0.001}
    # Before the second: what the first had computed, and had not paused for.
    rested = slept.pop((len(slept) - 1) // 2)
    assert 0.001 < rested < sum(slept) / 2
    document = cache.valid("{ __schema { types { name } } }")
    assert document is not None
    slept.clear()
    for _ in range(2):
        await cache.introspected(document, None, None)
    assert len(slept) == 2
    for number in range(3):
        await cache.read(f"{{ short{number} }}")
    assert len(slept) == 2


def test_a_document_that_is_large_is_not_compiled() -> None:
    cache = schema_with_documents_of_its_own().documents
    for count, is_compiled in ((MOST_COMPILED_FIELDS // 2, True), (MOST_COMPILED_FIELDS // 2 + 1, False)):
        text = "{ " + " ".join(f"a{n}: head {{ revision }}" for n in range(count)) + " }"
        cache.valid(text)
        with nullcontext() if is_compiled else pytest.raises(NotPrepared):
            assert cache.plan(text, None, UNRESTRICTED) is not None
        cache.trust({text})
        assert cache.valid(text) is not None


@pytest.mark.parametrize("name", sorted(operation_names()))
def test_what_front_ends_send_is_compiled_also_where_it_is_not_trusted(name: str) -> None:
    assert field_count(parse(operation(name))) <= MOST_COMPILED_FIELDS


@pytest.mark.parametrize("name", sorted(operation_names()))
def test_what_front_ends_send_does_not_wait_for_long_documents(name: str) -> None:
    assert len(operation(name)) <= SHORT_CHARACTERS


@pytest.mark.parametrize(("first", "is_long"), [(500, True), (300, False)])
def test_an_answer_is_long_by_the_records_that_the_operation_asks_for_also_the_first_time(
    first: int, *, is_long: bool
) -> None:
    cache = schema_with_documents_of_its_own().documents
    text = "query($n: Int) { " + " ".join(f"a{n}: shards(first: $n) {{ nodes {{ shardId }} }}" for n in range(3)) + " }"
    assert cache.valid(text) is not None
    plan = cache.plan(text, None, UNRESTRICTED)
    assert plan is not None
    assert plan.begin({"n": first}, Context(cast("Any", None), UNRESTRICTED, "request")).is_long is is_long


def test_a_trusted_document_is_not_forgotten_and_is_the_one_that_is_sent_as_text() -> None:
    cache = DocumentCache()
    sent_before = weakref.ref(cache.parsed("{ a }"))
    cache.trust({"{ a }", "{ b }"})
    first = weakref.ref(cache.parsed("{ b }"))
    for number in range(600):
        cache.parsed(f"{{ a{number} }}")
    assert cache.parsed("{ a }") is sent_before()
    assert cache.parsed("{ b }") is first()
    cache.trust({"{ b }"})
    assert cache.parsed("{ a }") is sent_before()
    for number in range(600):
        _used(cache, f"{{ b{number} }}")
    assert sent_before() is None, "it is not trusted any more"
    assert cache.parsed("{ b }") is first()


def test_a_trusted_document_takes_no_room_from_others() -> None:
    cache = DocumentCache()
    others = [f"{{ a{number} }}" for number in range(_REMEMBERED)]
    remembered = [cache.parsed(text) for text in others]
    trusted = {f"{{ b{number} }}" for number in range(100)}
    cache.trust(trusted)
    for text in trusted:
        cache.parsed(text)
    assert [cache.parsed(text) for text in others] == remembered
