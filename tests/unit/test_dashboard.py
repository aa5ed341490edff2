"""The dashboard: its page is sent to browsers alone, its files are kept for ever, and all of it is from this server."""

import gzip
import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

import graph.http.dashboard
from graph.http.dashboard import PAGE_HEADERS, PAGES, dashboard_routes
from graph.operations import own_manifest

ASSETS = Path(graph.http.dashboard.__file__).parent / "dashboard_assets"
BUDGET_BYTES = 150_000
PAGE_BYTES = 25_000
STYLE_BYTES = 15_000

_ID = re.compile(r"sha256:[0-9a-f]{64}")

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def browser() -> TestClient:
    return TestClient(Starlette(routes=dashboard_routes()))


def addresses(page: str) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]+)"', page)


def gzipped(suffix: str) -> dict[str, int]:
    return {file.name: len(gzip.compress(file.read_bytes(), 9)) for file in (ASSETS / "dashboard").glob(f"*{suffix}")}


@pytest.mark.parametrize("path", PAGES)
def test_a_browser_is_sent_the_page_at_every_address_and_finds_its_files_from_there(
    browser: TestClient, path: str
) -> None:
    address = path.replace(":path", "").format(namespace="orders", shard_id="orders-007", plan_id="ae13")
    answer = browser.get(address, headers=HTML)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    found = addresses(answer.text)
    assert len(found) >= 3
    for each in found:
        assert not each.startswith(("/", "http")), each
        file = browser.get(f"{address.rsplit('/', 1)[0]}/{each}")
        assert file.status_code == 200, each
        assert "immutable" in file.headers["cache-control"] or each.endswith(".svg")


def test_the_page_has_the_same_files_behind_a_prefix(browser: TestClient) -> None:
    assert {each.startswith("dashboard/") for each in addresses(browser.get("/live", headers=HTML).text)} == {True}
    deep = addresses(browser.get("/shards/orders/orders-007", headers=HTML).text)
    assert {each.startswith("../../dashboard/") for each in deep} == {True}
    slash = addresses(browser.get("/shards/orders/host%2Fdisk", headers=HTML).text)
    assert {each.startswith("../../dashboard/") for each in slash} == {True}
    folders = addresses(browser.get("/shards/orders/host/disk", headers=HTML).text)
    assert {each.startswith("../../../dashboard/") for each in folders} == {True}


def test_a_server_that_knows_its_prefix_sends_the_same_page() -> None:
    behind = TestClient(Starlette(routes=dashboard_routes()), root_path="/mesh")
    assert {each.startswith("dashboard/") for each in addresses(behind.get("/mesh/live", headers=HTML).text)} == {True}


@pytest.mark.parametrize("accept", ["application/json", "*/*"])
def test_any_other_client_finds_nothing_there(browser: TestClient, accept: str) -> None:
    assert browser.get("/", headers={"accept": accept}).status_code == 404


def test_the_page_runs_and_looks_by_files_of_this_server_alone(browser: TestClient) -> None:
    answer = browser.get("/", headers=HTML)
    policy = answer.headers["content-security-policy"]
    assert policy == PAGE_HEADERS["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", answer.text)
    for file in (ASSETS / "dashboard").glob("*.css"):
        assert not re.search(r"@import|url\((?!#)", file.read_text())


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip, deflate, br", "br"), ("gzip", "gzip"), ("br;q=0, gzip", "gzip"), ("identity", None), ("", None)],
)
def test_a_file_comes_in_the_smallest_form_that_is_accepted(
    browser: TestClient, accepted: str, encoding: str | None
) -> None:
    name = max(sizes := gzipped(".js"), key=lambda each: sizes[each])
    with browser.stream("GET", f"/dashboard/{name}", headers={"accept-encoding": accepted}) as answer:
        sent = b"".join(answer.iter_raw())
    assert answer.headers.get("content-encoding") == encoding
    assert answer.headers["vary"] == "accept-encoding"
    suffix = {"br": ".br", "gzip": ".gz", None: ""}[encoding]
    assert sent == (ASSETS / "dashboard" / f"{name}{suffix}").read_bytes()


def test_every_compressed_file_holds_what_it_is_of() -> None:
    compressed = [*(ASSETS / "dashboard").glob("*.gz")]
    assert compressed
    for file in compressed:
        assert gzip.decompress(file.read_bytes()) == file.with_suffix("").read_bytes()
        assert file.with_suffix(".br").is_file()


def test_nothing_but_the_files_is_served(browser: TestClient) -> None:
    assert browser.get("/dashboard/%2e%2e/index.html").status_code == 404
    assert browser.get("/dashboard/").status_code == 404
    assert browser.get("/dashboard/none.js").status_code == 404
    assert browser.get("/nothing", headers=HTML).status_code == 404


def test_the_pages_keep_to_their_budget() -> None:
    scripts, styles = gzipped(".js"), gzipped(".css")
    named = (ASSETS / "index.html").read_text()
    first = {name: size for name, size in scripts.items() if name in named}
    assert 0 < sum(first.values()) < BUDGET_BYTES
    assert all(size < PAGE_BYTES for name, size in scripts.items() if name not in first)
    assert sum(styles.values()) < STYLE_BYTES


def test_the_licences_of_what_is_built_in_are_beside_it() -> None:
    licences = (ASSETS / "dashboard" / "LICENSES.md").read_text()
    assert all(name in licences for name in ("react", "react-dom", "urql", "wouter", "graphql-ws"))


def test_the_pages_send_operations_that_this_server_knows() -> None:
    sent = {found for file in (ASSETS / "dashboard").glob("*.js") for found in _ID.findall(file.read_text())}
    assert sent
    assert sent <= {entry.id for entry in own_manifest()}, "operations were changed: run make dashboard"
