"""GraphiQL works in a network without Internet, from files of this server alone, and opens with operations that run."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import graphql
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

import graph.http.graphiql
from graph.http.graphiql import TABS, Tab, graphiql_page, graphiql_routes
from graph.operations import operation

ASSETS = Path(graph.http.graphiql.__file__).parent / "graphiql_assets"
SCHEMA = ASSETS.parents[2] / "frontend-queries" / "schema.graphql"


@pytest.fixture(scope="module")
def browser() -> TestClient:
    return TestClient(Starlette(routes=graphiql_routes()))


def page() -> str:
    return bytes(graphiql_page().body).decode()


def references() -> list[str]:
    return re.findall(r'(?:src|href)="([^"]+)"', page())


def text_of(file: Path) -> bytes:
    return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()


def test_every_file_of_the_page_is_of_this_server_and_may_be_kept_forever(browser: TestClient) -> None:
    assert len(references()) >= 3
    for address in references():
        assert address.startswith("graphql/assets/")
        answer = browser.get(f"/{address}")
        assert answer.status_code == 200, address
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_style_sheet_fetches_nothing_from_elsewhere() -> None:
    sheets = [file for file in (ASSETS / "assets").iterdir() if ".css" in file.suffixes and file.suffix != ".br"]
    assert sheets
    for sheet in sheets:
        fetched = re.findall(r"""@import|url\(["']?([^"')]{1,5})""", text_of(sheet).decode())
        assert all(each.startswith(("data:", "#", "./", "codic")) for each in fetched), sheet.name


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip, deflate, br", "br"), ("gzip", "gzip"), ("br;q=0, gzip", "gzip"), ("identity", None), ("", None)],
)
def test_a_file_comes_in_the_smallest_form_that_is_accepted(
    browser: TestClient, accepted: str, encoding: str | None
) -> None:
    file = max((ASSETS / "assets").glob("*.js.gz"), key=lambda each: each.stat().st_size)
    with browser.stream("GET", f"/graphql/assets/{file.stem}", headers={"accept-encoding": accepted}) as answer:
        sent = b"".join(answer.iter_raw())
    assert answer.headers.get("content-encoding") == encoding
    assert answer.headers["vary"] == "accept-encoding"
    assert answer.headers["content-type"].startswith("text/javascript")
    kept = {"br": file.with_suffix(".br").read_bytes(), "gzip": file.read_bytes(), None: text_of(file)}
    assert sent == kept[encoding]


def test_of_each_file_there_are_both_compressed_forms_or_itself() -> None:
    names = {file.name for file in (ASSETS / "assets").iterdir()}
    for name in names:
        if name.endswith((".gz", ".br")):
            assert {f"{name[:-3]}.gz", f"{name[:-3]}.br"} <= names
            assert name[:-3] not in names
    assert sum(file.stat().st_size for file in ASSETS.rglob("*") if file.is_file()) < 4_000_000


def test_nothing_but_the_assets_is_served(browser: TestClient) -> None:
    for name in ("%2e%2e/graphiql.py", "", "none.js", "..%2findex.html", "index.html", "SOURCES.json"):
        assert browser.get(f"/graphql/assets/{name}").status_code == 404, name


def test_the_page_runs_no_script_but_files_of_this_server() -> None:
    answer = graphiql_page()
    policy = {
        name: rest
        for name, _, rest in (
            each.strip().partition(" ") for each in answer.headers["content-security-policy"].split(";")
        )
    }
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["worker-src"] == policy["connect-src"] == "'self'"
    assert [name for name, rest in policy.items() if "unsafe" in rest] == ["style-src-attr"]
    inline = re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", page())
    assert inline == ['<script type="application/json" id="tabs">']  # data, which a browser does not run
    assert not re.search(r"\son\w+=|\sstyle=", page())


def test_a_nonce_is_of_one_answer() -> None:
    answers = [graphiql_page() for _ in range(2)]
    nonces = []
    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        (nonce,) = re.findall(r'nonce="([\w-]{20,})"', bytes(answer.body).decode())
        assert f"'nonce-{nonce}'" in answer.headers["content-security-policy"]
        nonces.append(nonce)
    assert nonces[0] != nonces[1]


def test_the_licences_of_what_is_built_in_are_beside_it() -> None:
    licences = (ASSETS / "LICENSES.md").read_text(encoding="utf-8")
    sources = json.loads((ASSETS / "SOURCES.json").read_text(encoding="utf-8"))
    names = {source["package"] for source in sources}
    assert {"graphiql", "@graphiql/plugin-explorer", "@graphiql/plugin-history", "monaco-editor", "react"} <= names
    sections = re.split(r"^## (?=\S+ \d)", licences, flags=re.MULTILINE)[1:]
    assert len(sections) == len(sources)
    for source, section in zip(sources, sections, strict=True):
        title, _, text = section.partition("\n")
        assert title == f"{source['package']} {source['version']}, {source['license']}"
        assert len(text.strip()) > 300, title


def variables_of(tab: Tab) -> dict[str, Any]:
    """Without the comments that are on lines of their own."""
    given = re.sub(r"^\s*//.*$", "", tab.variables, flags=re.MULTILINE)
    read: dict[str, Any] = json.loads(given)
    return read


def test_the_page_carries_the_tabs() -> None:
    carried = re.search(r'id="tabs">(.*?)</script>', page(), re.DOTALL)
    assert carried is not None
    assert json.loads(carried[1]) == [{"query": operation(tab.operation), "variables": tab.variables} for tab in TABS]


@pytest.mark.parametrize("tab", TABS, ids=lambda tab: tab.operation)
def test_a_tab_can_be_run_with_its_variables(tab: Tab) -> None:
    schema = graphql.build_schema(SCHEMA.read_text(encoding="utf-8"))
    document = graphql.parse(operation(tab.operation))
    assert graphql.validate(schema, document) == []
    (definition,) = (each for each in document.definitions if isinstance(each, graphql.OperationDefinitionNode))
    variables = variables_of(tab)
    declared = definition.variable_definitions or ()
    known = {each.variable.name.value for each in declared}
    assert variables.keys() <= known
    read = graphql.get_variable_values(schema, declared, variables)
    assert not isinstance(read, list), read
