"""GraphQL over HTTP: the 61 audits of npm graphql-http 1.23 (`auditServer`), by their ids, without needing Node.

https://graphql.github.io/graphql-over-http/draft/
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from tests.support.graphql_api import GRAPHQL_RESPONSE, Api

JSON: Final = "application/json"
TYPENAME: Final = "{ __typename }"
BY_NAME: Final = "query Type($name: String!) { __type(name: $name) { name } }"
TYPE: Final[Mapping[str, Any]] = {"query": BY_NAME, "variables": {"name": "sometype"}}
COERCION: Final[Mapping[str, Any]] = {
    "query": "query CoerceFailure($id: ID!){ __typename }",
    "variables": {"id": None},
}
NO_SUCH_FIELD: Final = {"query": "{ 8f31403dfe404bccbb0e835f2629c6a7 }"}
CUT_OFF: Final = '{ "not a JSON'


@dataclass(frozen=True)
class Audit:
    """A request, and what must be true of the answer. `body` is sent as JSON unless it is text already."""

    body: Any = None
    accept: str | None = None
    content_type: str | None = JSON
    parameters: Mapping[str, str] = field(default_factory=dict)
    status: range = range(200, 201)
    answered_in: str | None = None
    without: str | None = None


def exactly(status: int) -> range:
    return range(status, status + 1)


def audits() -> Iterator[tuple[str, Audit]]:
    typename = {"query": TYPENAME}
    yield "22EB", Audit(typename, GRAPHQL_RESPONSE, answered_in=GRAPHQL_RESPONSE)
    yield "4655", Audit(typename, JSON, answered_in=JSON)
    yield "47DE", Audit(typename, "*/*", answered_in=JSON)
    yield "80D8", Audit(typename, answered_in=JSON)
    yield "82A3", Audit(typename)
    emoji = json.dumps({"query": '{ __type(name: "Run\N{RUNNER}Swim\N{SWIMMER}") { name } }'}, ensure_ascii=False)
    yield "BF61", Audit(emoji, content_type="application/json; charset=utf-8")
    yield "78D5", Audit(typename)
    yield "2C94", Audit(typename)
    yield "5A70", Audit(parameters=typename)
    yield (
        "9C48",
        Audit(parameters={"query": "mutation { __typename }"}, accept=GRAPHQL_RESPONSE, status=range(400, 500)),
    )
    yield "9ABE", Audit(typename, content_type=None, status=range(400, 500))
    yield "03D4", Audit(typename)
    yield "A5BF", Audit("", status=exactly(400))
    yield "423L", Audit({"notquery": TYPENAME}, GRAPHQL_RESPONSE, status=exactly(400))
    for number, wrong in enumerate(({"obj": "ect"}, 0, False, ["array"])):
        yield f"LKJ{number}", Audit({"query": wrong}, status=exactly(400))
        yield f"6C0{number}", Audit(typename | {"operationName": wrong}, status=exactly(400))
    for number, wrong in enumerate(("string", 0, False, ["array"])):
        yield f"476{number}", Audit(typename | {"variables": wrong}, status=exactly(400))
        yield f"58B{number}", Audit(typename | {"extensions": wrong}, status=exactly(400))
    yield "34A2", Audit(typename, GRAPHQL_RESPONSE)
    yield "13EE", Audit(typename, JSON, without="errors")
    named = {"query": "query Query { __typename }", "operationName": "Query"}
    yield "8161", Audit(named, GRAPHQL_RESPONSE)
    yield "B8B3", Audit(named, JSON, without="errors")
    for number, name in enumerate(("variables", "operationName", "extensions")):
        yield f"94B{number}", Audit(typename | {name: None}, GRAPHQL_RESPONSE, without="errors")
        yield f"022{number}", Audit(typename | {name: None}, JSON, without="errors")
    yield "2EA1", Audit(TYPE, GRAPHQL_RESPONSE)
    yield "28B9", Audit(TYPE, JSON, without="errors")
    in_url = {"query": BY_NAME, "variables": json.dumps(TYPE["variables"])}
    yield "D6D5", Audit(parameters=in_url, accept=GRAPHQL_RESPONSE, without="errors")
    yield "6A70", Audit(parameters=in_url, accept=JSON, without="errors")
    yield "428F", Audit(typename | {"extensions": {"some": "value"}}, GRAPHQL_RESPONSE)
    yield "1B7A", Audit(typename | {"extensions": {"some": "value"}}, JSON, without="errors")
    yield "B6DC", Audit(CUT_OFF, JSON, status=range(200, 600))
    yield "BCF8", Audit(CUT_OFF, JSON, status=exactly(400))
    yield "B7N8", Audit(CUT_OFF, GRAPHQL_RESPONSE, status=exactly(400))
    yield "8764", Audit({"qeury": TYPENAME}, status=range(400, 600))
    yield "3E3A", Audit({"qeury": TYPENAME}, status=exactly(400))
    yield "572B", Audit({"query": "{"}, JSON)
    yield "FDE2", Audit(NO_SUCH_FIELD, JSON)
    yield "7B9B", Audit(COERCION, JSON)
    yield "865D", Audit({"query": "{"}, GRAPHQL_RESPONSE, status=range(400, 600))
    yield "556A", Audit({"query": "{"}, GRAPHQL_RESPONSE, status=exactly(400))
    yield "D586", Audit({"query": "{"}, GRAPHQL_RESPONSE, status=exactly(400), without="data")
    yield "51FE", Audit(NO_SUCH_FIELD, GRAPHQL_RESPONSE, status=range(400, 600))
    yield "74FF", Audit(NO_SUCH_FIELD, GRAPHQL_RESPONSE, status=exactly(400))
    yield "5E5B", Audit(NO_SUCH_FIELD, GRAPHQL_RESPONSE, status=exactly(400), without="data")
    yield "86EE", Audit(COERCION, GRAPHQL_RESPONSE, status=exactly(400))


AUDITS: Final = dict(audits())


def test_no_audit_is_missing() -> None:
    assert len(AUDITS) == 61


@pytest.mark.parametrize("name", AUDITS)
async def test_the_audit_is_passed(api: Api, name: str) -> None:
    audit = AUDITS[name]
    given = {"accept": audit.accept, "content-type": audit.content_type}
    headers = {name: value for name, value in given.items() if value is not None}
    if audit.accept is None:
        del api.http.headers["accept"]  # the client would add its own
    if audit.parameters:
        response = await api.http.get("/graphql", params=audit.parameters, headers=headers)
    else:
        body = audit.body if isinstance(audit.body, str) else json.dumps(audit.body)
        response = await api.http.post("/graphql", content=body.encode(), headers=headers)
    assert response.status_code in audit.status
    answer = json.loads(response.content.decode())
    if audit.answered_in is not None:
        assert audit.answered_in in response.headers["content-type"]
    assert audit.without not in answer
