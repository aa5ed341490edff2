"""Which document a request is for: by text, by id, by the hash of an automatic persisted query, in each mode."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import pytest
from graphql import get_introspection_query

from graph.auth.principal import UNRESTRICTED, Principal, Scope
from graph.execution.documents import DocumentCache
from graph.http import trusted_documents
from graph.http.requests import BadRequest
from graph.http.trusted_documents import RegisteredDocuments, TrustedDocuments
from graph.operations import ManifestEntry, ManifestError, Trust, operation, operation_names, own_manifest
from tests.support.shared_schema import one_schema

KNOWN: Final = operation("ShardDetails")
OTHER: Final = "query Other { head { revision } }"
INTROSPECTION: Final = get_introspection_query()
READER: Final = Principal("reader", frozenset({Scope.READ, Scope.OPERATE, Scope.APPROVE}))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def apq(digest: Any, version: Any = 1, **members: Any) -> dict[str, Any]:
    """As Apollo's clients and urql send it."""
    return {"extensions": {"persistedQuery": {"version": version, "sha256Hash": digest}}, **members}


def documents(trust: Trust = "prefer", *added: ManifestEntry) -> TrustedDocuments:
    return TrustedDocuments(one_schema().documents, trust, added)


def refusal(trusted: TrustedDocuments, given: dict[str, Any], principal: Principal = UNRESTRICTED) -> str:
    with pytest.raises(BadRequest) as refused:
        trusted.text_of(given, principal)
    return str(refused.value.code)


@pytest.mark.parametrize("trust", ["prefer", "require"])
@pytest.mark.parametrize("identity", [f"sha256:{sha256(KNOWN)}", sha256(KNOWN)])
def test_an_id_is_that_of_a_document_of_the_program(trust: Trust, identity: str) -> None:
    trusted = documents(trust)
    assert trusted.text_of({"documentId": identity}, READER) == KNOWN
    assert trusted.text_of({"documentId": identity, "query": None, "extensions": None}, READER) == KNOWN
    assert trusted.text_of({"documentId": identity, "query": ""}, READER) == KNOWN
    assert trusted.text_of({"documentId": identity, "query": KNOWN}, READER) == KNOWN
    assert trusted.text_of(apq(identity), READER) == KNOWN
    assert trusted.text_of(apq(sha256(KNOWN), documentId=identity, query=KNOWN), READER) == KNOWN


def test_every_operation_has_an_id() -> None:
    texts = documents().texts
    for text in map(operation, operation_names()):
        assert texts[f"sha256:{sha256(text)}"] == text
    assert {entry.id for entry in own_manifest()} <= texts.keys()


@pytest.mark.parametrize(
    "given",
    [
        {"query": 7},
        {"query": ["{ a }"], "documentId": sha256(KNOWN)},
        {"documentId": 7},
        {"documentId": ""},
        {"documentId": [sha256(KNOWN)]},
        {},
        {"extensions": {}},
        {"documentId": f"sha256:{sha256(KNOWN)}", "query": OTHER},
        {"documentId": sha256(KNOWN), "query": OTHER},
        {"documentId": "sha256:" + "0" * 64, "query": OTHER},
        {"extensions": {"persistedQuery": 7}},
        {"extensions": {"persistedQuery": {"version": 1}}},
        apq(7),
        apq(sha256(OTHER), version=2, query=OTHER),
        apq(sha256(KNOWN), query=OTHER),
        apq(sha256(OTHER), query=OTHER + " "),
        apq(sha256(OTHER), documentId=sha256(KNOWN)),
    ],
)
def test_what_does_not_fit_together_is_a_bad_request(given: dict[str, Any]) -> None:
    assert refusal(documents(), given) == "BAD_REQUEST"


def test_an_id_that_is_not_known_is_no_hindrance_to_the_text_beside_it() -> None:
    trusted = documents()
    for identity in (f"sha256:{sha256(OTHER)}", sha256(OTHER), "relay-5"):
        assert trusted.text_of({"documentId": identity, "query": OTHER}, READER) == OTHER
        assert refusal(trusted, {"documentId": identity}) == "PERSISTED_QUERY_NOT_FOUND"


def test_a_hash_is_known_once_its_text_was_registered() -> None:
    trusted = documents()
    with pytest.raises(BadRequest) as refused:
        trusted.text_of(apq(sha256(OTHER)), READER)
    assert (refused.value.code, refused.value.message) == ("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")
    assert trusted.text_of(apq(sha256(OTHER), query=OTHER), READER) == OTHER
    assert trusted.text_of(apq(sha256(OTHER)), READER) == OTHER
    assert refusal(trusted, {"documentId": sha256(OTHER)}) == "PERSISTED_QUERY_NOT_FOUND"


def test_off_means_text_alone() -> None:
    trusted = documents("off")
    assert not trusted.texts
    assert trusted.text_of({"query": OTHER}, READER) == OTHER
    assert trusted.text_of(apq("anything", version=7, query=OTHER, documentId="anything"), READER) == OTHER
    assert refusal(trusted, {"documentId": sha256(KNOWN)}) == "PERSISTED_QUERY_NOT_SUPPORTED"
    with pytest.raises(BadRequest) as refused:
        trusted.text_of(apq(sha256(KNOWN)), READER)
    assert refused.value.message == "PersistedQueryNotSupported"
    assert refused.value.code == "PERSISTED_QUERY_NOT_SUPPORTED"


@pytest.mark.parametrize(
    "given",
    [
        {"query": OTHER},
        {"query": KNOWN + " "},
        {"query": ""},
        {"documentId": sha256(OTHER)},
        {"documentId": sha256(OTHER), "query": OTHER},
        apq(sha256(OTHER)),
        apq(sha256(OTHER), query=OTHER),
        {"query": "{ __schema { queryType { name } } head { revision } }"},
        {"query": "mutation { __typename }"},
        {"query": "{ ...a } fragment a on Query { ...missing }"},
        {"query": "{ __schema { nothing } }"},
        {"query": "{"},
    ],
)
def test_required_means_no_other_document(given: dict[str, Any]) -> None:
    trusted = documents("require")
    assert refusal(trusted, given) == "DOCUMENT_NOT_TRUSTED"
    assert refusal(trusted, apq(sha256(OTHER))) == "DOCUMENT_NOT_TRUSTED", "it was registered"


async def test_where_trust_is_required_introspection_takes_a_scope() -> None:
    trusted = documents("require")
    administrator = Principal("admin", frozenset({Scope.ADMIN}))
    asked = (INTROSPECTION, "{ __typename }", '{ ...a } fragment a on Query { __type(name: "Shard") { name } }')
    # One schema serves all tests of a process, and remembers what another of them had it read.
    for text in (f"{document} # read by this test alone" for document in asked):
        assert refusal(trusted, {"query": text}, administrator) == "DOCUMENT_NOT_TRUSTED", "it was not read yet"
        await trusted.read({"query": text}, administrator)
        assert trusted.text_of({"query": text}, administrator) == text
        assert trusted.text_of({"query": text}, UNRESTRICTED) == text
        assert refusal(trusted, {"query": text}, READER) == "DOCUMENT_NOT_TRUSTED"
        assert documents("prefer").text_of({"query": text}, READER) == text


def test_a_document_that_is_not_trusted_is_not_even_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    trusted = documents("require")
    monkeypatch.setattr(DocumentCache, "parsed", None)
    assert refusal(trusted, {"query": OTHER}, READER) == "DOCUMENT_NOT_TRUSTED"


def test_documents_of_other_programs_have_the_ids_of_their_manifest() -> None:
    trusted = documents("require", ManifestEntry("relay-5", OTHER, "web.json: operations[0] (Other)"))
    for identity in ("relay-5", sha256(OTHER), f"sha256:{sha256(OTHER)}"):
        assert trusted.text_of({"documentId": identity}, READER) == OTHER
        assert trusted.text_of(apq(identity, query=OTHER), READER) == OTHER
    assert trusted.text_of({"query": OTHER}, READER) == OTHER


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (ManifestEntry("a", "{ nothing }", "web.json: operations[3] (A)"), "Cannot query field 'nothing'"),
        (ManifestEntry("a", "{", "web.json: operations[3] (A)"), "Syntax Error"),
        (ManifestEntry("a", "{ a " * 100 + "}" * 100, "web.json: operations[3] (A)"), "levels deep"),
        (ManifestEntry(sha256(KNOWN), OTHER, "web.json: operations[3] (A)"), "that of another document"),
    ],
)
def test_a_document_that_cannot_be_trusted_is_named(entry: ManifestEntry, words: str) -> None:
    with pytest.raises(ManifestError, match=re.escape("web.json: operations[3] (A): ")) as refused:
        documents("prefer", entry)
    assert words in str(refused.value)


async def test_prepared_documents_have_plans_and_their_first_use_makes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DocumentCache()
    schema = one_schema()
    cache.bind(schema.core, schema.requirements)
    trusted = TrustedDocuments(cache, "prefer")
    await trusted.prepare()
    monkeypatch.setattr("graph.execution.documents.Plan", None)
    for text in trusted.texts.values():
        assert cache.plan(text, None, UNRESTRICTED) is not None


async def test_a_document_of_the_program_that_is_not_valid_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ManifestEntry("broken", "{ nothing at all }", "manifest.json: Broken")
    monkeypatch.setattr(trusted_documents, "own_manifest", lambda: [broken])
    with pytest.raises(ManifestError, match=r"manifest\.json: Broken: Cannot query field 'nothing'"):
        await documents().prepare()


def test_what_clients_register_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trusted_documents, "REGISTERED_BYTES", 20_000)
    registered = RegisteredDocuments()
    texts = [f"{number}" * 1_000 for number in range(10)]
    for text in texts:
        registered.add(sha256(text), text)
        registered.add(sha256(text), text)
    assert registered.bytes <= 20_000
    assert [text for text in texts if registered.get(sha256(text))] == texts
    registered.get(sha256(texts[0]))
    for number in range(10, 20):
        registered.add(sha256(f"{number} " * 400), f"{number} " * 400)
        assert registered.get(sha256(texts[0])) == texts[0], "used last, so forgotten last"
        assert registered.bytes <= 20_000
    assert not any(registered.get(sha256(text)) for text in texts[1:7])
    long = "x" * 65_537
    registered.add(sha256(long), long)
    assert registered.get(sha256(long)) is None
