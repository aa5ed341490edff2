"""GraphiQL works in a network without Internet, and its files are the ones that were reviewed."""

import hashlib
import json
import re
from pathlib import Path

import graphql
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

import graph.http.graphiql
from graph.http.graphiql import PAGE_HEADERS, graphiql_page, graphiql_routes

ASSETS = Path(graph.http.graphiql.__file__).parent / "graphiql_assets"
VENDOR = ASSETS / "vendor"
EXAMPLES = sorted((ASSETS / "examples").glob("*.graphql"))


def references() -> list[str]:
    return [address for address in re.findall(r'(?:src|href)="([^"]+)"', graphiql_page()) if "data:" not in address]


def test_the_page_uses_only_files_of_this_server() -> None:
    own_namespace_of_svg = "http://www.w3.org/2000/svg"
    assert re.findall(r"https?://|[\"']//", graphiql_page().replace(own_namespace_of_svg, "")) == []
    assert references()


def test_every_file_of_the_page_is_served_and_may_be_kept_forever() -> None:
    browser = TestClient(Starlette(routes=graphiql_routes()))
    for address in references():
        answer = browser.get(f"/{address}")
        assert answer.status_code == 200, address
        assert "immutable" in answer.headers["cache-control"]


def test_a_file_that_changes_gets_another_address() -> None:
    for address in references():
        path, _, version = address.partition("?v=")
        content = (ASSETS / path.removeprefix("graphql/assets/")).read_bytes()
        assert hashlib.sha256(content).hexdigest().startswith(version)
        assert version


def test_nothing_but_the_assets_is_served() -> None:
    browser = TestClient(Starlette(routes=graphiql_routes()))
    assert browser.get("/graphql/assets/%2e%2e/graphiql.py").status_code == 404
    assert browser.get("/graphql/assets/").status_code == 404


def test_the_page_runs_no_script_but_files_of_this_server() -> None:
    assert "script-src 'self';" in PAGE_HEADERS["content-security-policy"]
    inline = re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", graphiql_page())
    assert inline == ['<script type="application/json" id="examples">']  # data, which a browser does not run
    assert not re.search(r"\son\w+=", graphiql_page())


def test_the_files_from_npm_are_the_ones_recorded() -> None:
    sources = json.loads((VENDOR / "SOURCES.json").read_text())
    recorded = {file: digest for source in sources for file, digest in source["sha256"].items()}
    present = {
        str(file.relative_to(VENDOR)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in VENDOR.rglob("*")
        if file.is_file() and file.name != "SOURCES.json"
    }
    assert present == recorded
    folders = {file.parent for file in VENDOR.rglob("*") if file.is_file()} - {VENDOR}
    assert all((folder / "LICENSE").is_file() for folder in folders)


def test_the_page_carries_the_examples() -> None:
    carried = re.search(r'id="examples">(.*?)</script>', graphiql_page(), re.DOTALL)
    assert carried is not None
    assert json.loads(carried[1]) == [example.read_text() for example in EXAMPLES]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid_in_the_schema(example: Path) -> None:
    exported = ASSETS.parents[2] / "frontend-queries" / "schema.graphql"
    schema = graphql.build_schema(exported.read_text())
    assert graphql.validate(schema, graphql.parse(example.read_text())) == []
