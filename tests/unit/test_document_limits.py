"""How large a document may be, and that documents are read once."""

from __future__ import annotations

import pytest
from graphql import GraphQLSyntaxError, get_introspection_query, parse

from graph.execution import limits
from graph.execution.documents import DocumentCache
from graph.execution.limits import MAX_ALIASES, MAX_DEPTH, limit_problems


def problems(text: str) -> list[str]:
    return [problem.message for problem in limit_problems(parse(text))]


def nested(levels: int) -> str:
    return "{ a " * levels + "}" * levels


def test_what_people_and_programs_ask_for_is_within_bounds() -> None:
    assert problems(get_introspection_query(input_value_deprecation=True)) == []
    assert problems(nested(MAX_DEPTH)) == []
    assert problems("{ " + " ".join(f"a{n}: a" for n in range(MAX_ALIASES)) + " }") == []


def test_depth_is_bounded_through_fragments_too() -> None:
    assert problems(nested(MAX_DEPTH + 1)) == ["The document nests 33 levels deep; at most 32 are allowed."]
    chain = "{ ...f0 } " + " ".join(f"fragment f{n} on Query {{ ...f{n + 1} }}" for n in range(50))
    assert "levels deep" in problems(chain + " fragment f50 on Query { a }")[0]
    assert "levels deep" in problems("{ " + "... { " * 40 + "a" + " }" * 40 + " }")[0]


def test_aliases_count_as_often_as_their_fragment_is_spread() -> None:
    spread = "fragment f on Query { x: a y: a } { " + "...f " * (MAX_ALIASES // 2) + "%s }"
    assert problems(spread % "") == []
    assert problems(spread % "z: a") == [
        "The document has 201 aliases, with its fragments spread out; at most 200 are allowed."
    ]


def test_fragments_that_multiply_are_counted_without_being_spread_out() -> None:
    bomb = "{ ...f0 } " + " ".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(25))
    assert problems(bomb + " fragment f25 on Query { a b }") == [
        f"The document selects {2**26:,} fields, with its fragments spread out; at most 2,000 are allowed."
    ]


def test_a_fragment_that_spreads_itself_is_left_to_validation() -> None:
    assert problems("{ ...f } fragment f on Query { a ...f }") == []


def test_a_document_is_parsed_once() -> None:
    cache = DocumentCache()
    assert cache.parsed("{ a }") is cache.parsed("{ a }")


def test_a_document_of_too_many_tokens_is_not_parsed() -> None:
    with pytest.raises(GraphQLSyntaxError, match="more than 5000 tokens"):
        DocumentCache().parsed("{ " + "a " * limits.MAX_TOKENS + "}")


def test_the_documents_remembered_are_bounded() -> None:
    cache = DocumentCache()
    first = cache.parsed("{ a }")
    for number in range(600):
        cache.parsed(f"{{ a{number} }}")
    assert cache.parsed("{ a }") is not first
    long = "{ a } #" + "x" * 100_000
    assert cache.parsed(long) is not cache.parsed(long)


def test_a_trusted_document_is_not_forgotten_and_is_the_one_that_is_sent_as_text() -> None:
    cache = DocumentCache()
    sent_before = cache.parsed("{ a }")
    cache.trust({"{ a }", "{ b }"})
    first = cache.parsed("{ b }")
    for number in range(600):
        cache.parsed(f"{{ a{number} }}")
    assert cache.parsed("{ a }") is sent_before
    assert cache.parsed("{ b }") is first
    cache.trust({"{ b }"})
    assert cache.parsed("{ a }") is sent_before
    for number in range(600):
        cache.parsed(f"{{ b{number} }}")
    assert cache.parsed("{ a }") is not sent_before, "it is not trusted any more"
    assert cache.parsed("{ b }") is first


def test_a_trusted_document_takes_no_room_from_others() -> None:
    cache = DocumentCache()
    others = [f"{{ a{number} }}" for number in range(limits._REMEMBERED)]  # noqa: SLF001 - the bound itself
    remembered = [cache.parsed(text) for text in others]
    trusted = {f"{{ b{number} }}" for number in range(100)}
    cache.trust(trusted)
    for text in trusted:
        cache.parsed(text)
    assert [cache.parsed(text) for text in others] == remembered
