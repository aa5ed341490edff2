"""docs/performance.md is what the results make of it: no figure in it is typed by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.benchmarks import performance, results
from tests.benchmarks.bars import Bar, bars
from tests.benchmarks.commits import ETCD, ONE
from tests.benchmarks.reads import BARE, KEPT_NAME, OUR_NAME, POSTGRAPHILE_NAME


def test_the_page_is_written_from_the_results_that_are_kept() -> None:
    assert performance.PAGE.read_text("utf-8") == performance.document(results.load()), "run make plots"


def test_its_pictures_and_links_are_there() -> None:
    links = re.findall(r"\]\(([^)]+)\)", performance.PAGE.read_text("utf-8"))
    assert links
    assert [link for link in links if not (performance.PAGE.parent / link).exists()] == []


def test_a_page_without_results_has_neither_tables_nor_pictures() -> None:
    page = performance.document({})
    assert "make bench" in page
    assert "|" not in page
    assert "images/" not in page


def test_a_bar_is_met_on_its_side_of_the_limit_and_on_it() -> None:
    assert [Bar("a", figure, " ms", 5.0).is_met for figure in (4.9, 5.0, 5.1)] == [True, True, False]
    assert [Bar("a", figure, " x", 8.0, at_least=True).is_met for figure in (7.9, 8.0, 8.1)] == [False, True, True]
    assert str(Bar("p99", 4.94, " ms", 5.0)) == "p99: 4.94 ms, at most 5 ms"


def figures(server: float, rate: float) -> dict[str, Any]:
    return {"server": server, "postgres": 0.1, "rate": rate, "latencies": [[50, 1.0], [99, 4.0]]}


def reads(*names: str) -> dict[str, Any]:
    contenders = {name: figures(1.0 + number, 1_000.0 / (1 + number)) for number, name in enumerate(names)}
    return {"reads": {"workloads": dict.fromkeys(("lookup", "list", "history"), contenders), "new": {"server": 0.4}}}


def test_bars_of_contenders_that_did_not_take_part_are_left_out() -> None:
    alone = {bar.what + bar.unit for bar in bars(reads(OUR_NAME, BARE))}
    beside = {bar.what + bar.unit for bar in bars(reads(OUR_NAME, BARE, KEPT_NAME, POSTGRAPHILE_NAME))}
    assert alone < beside
    assert not any("Mercurius" in bar or "PostGraphile" in bar for bar in alone)
    assert sum("PostGraphile" in bar for bar in beside) == 3


def test_ratios_are_of_what_is_ours_to_what_is_theirs() -> None:
    found = {bar.what + bar.unit: bar for bar in bars(reads(OUR_NAME, BARE, POSTGRAPHILE_NAME))}
    assert found["one shard: processor time x bare uvicorn"].figure == 0.5
    assert found["one shard: requests/s x PostGraphile 5"].figure == 3.0


def test_results_that_are_kept_replace_those_of_the_same_part_only(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(results, "FILE", tmp_path / "results.json")
    results.keep({"reads": results.part({"rate": 1 / 3}, []), "growth": results.part(None, [])})
    results.keep({"growth": results.part({"sizes": [1_000_000]}, [{"what": "a"}])})
    kept = results.load()
    assert kept["reads"]["figures"] == {"rate": 0.3333}
    assert kept["growth"]["figures"] == {"sizes": [1_000_000]}
    assert kept["growth"]["rows"] == [{"what": "a"}]


def test_writes_are_shown_by_clients_and_contenders_and_held_to_their_bars() -> None:
    single = {count: {ONE: figures(0.6, 1_300.0), ETCD: figures(0.2, 4_000.0)} for count in ("1", "32")}
    bulk = [{"shards": 10_000, "seconds": 0.8, "plain": 0.2, "server": 0.03, "postgres": 0.03}]
    measured = {"seconds": 1.5, "rounds": 2, "share": 0.05, "single": single, "mixed": single["1"], "bulk": bulk}
    page = performance.document({"writes": {**results.part(measured, []), "machine": "m", "measured": "d"}})
    assert "| 32 | etcd, puts by its JSON gateway | 4,000 | 1.0 | 4.0 | 0.200 | 0.100 |" in page
    assert "| 10,000 | 12,500 | 800 | 200 | 0.030 | 0.030 |" in page
    assert "with 5% conflicts and 5% refusals" in page
    met = {bar.what: bar.is_met for bar in bars({"writes": measured})}
    assert met == {
        "updateShard, 32 clients: changes/s": True,
        "updateShard, 32 clients: p99": True,
        "updateShard, 32 clients: server and PostgreSQL": True,
        "updateShards of 10,000: shards/s": True,
    }
