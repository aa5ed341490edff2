"""Each alert leads to its section of docs/runbooks.md and is tested; alerts and dashboard name what is measured."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml  # type: ignore[import-untyped]  # schemathesis brings it, without its types

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "runbooks.md").read_text("utf-8")
METRICS: Final = frozenset(
    re.findall(r"^\| `(omnirelay_\w+)` \|", (ROOT / "docs" / "metrics.md").read_text("utf-8"), re.MULTILINE)
)
RULES: Final[list[dict[str, Any]]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "prometheus" / "omnirelay.rules.yaml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
ALERTS: Final[Mapping[str, dict[str, Any]]] = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED: Final = frozenset(rule["record"] for rule in RULES if "record" in rule)
SECTIONS: Final = dict(re.findall(r"^## (\w+)\n(.+?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
DASHBOARD: Final[dict[str, Any]] = json.loads((ROOT / "deploy" / "grafana" / "omnirelay.json").read_text("utf-8"))
EXPRESSIONS: Final = [
    target["expr"] for panel in DASHBOARD["panels"] if panel["type"] != "row" for target in panel["targets"]
]


def test_each_alert_has_a_section_and_each_section_an_alert() -> None:
    assert list(SECTIONS) == list(ALERTS)
    assert len(ALERTS) == sum("alert" in rule for rule in RULES)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_leads_to_what_it_means_and_what_to_do(name: str) -> None:
    annotations = ALERTS[name]["annotations"]
    assert annotations["runbook_url"].endswith(f"/docs/runbooks.md#{name.lower()}")
    assert annotations["summary"]
    assert ALERTS[name]["labels"]["severity"] in {"page", "ticket"}
    parts = [SECTIONS[name].find(part) for part in ("**Means**", "**Look at**", "**Do**", "Threshold: ")]
    assert -1 < parts[0] < parts[1] < parts[2] < parts[3]


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_tested_both_firing_and_silent(name: str) -> None:
    cases = yaml.safe_load((ROOT / "tests" / "deploy" / "rules.test.yaml").read_text("utf-8"))["tests"]
    expected = [
        bool(check["exp_alerts"])
        for case in cases
        for check in case.get("alert_rule_test", ())
        if check["alertname"] == name
    ]
    assert True in expected
    # One that fires at the first error, or is of a whole job, may have nothing that looks like it.
    assert False in expected or name == "OmnirelayOverloaded"


def named() -> Iterator[str]:
    text = "\n".join(
        [*EXPRESSIONS, *(rule["expr"] for rule in RULES), *re.findall(r"```promql\n(.+?)```", PAGE, re.DOTALL)]
    )
    yield from re.findall(r"(?<![\w:])omnirelay_\w+", text)


def test_only_metrics_that_there_are_are_named() -> None:
    assert {name for name in named() if re.sub("_(bucket|count|sum)$", "", name) not in METRICS} == set()
    recorded = re.findall(r"\bjob\w*:omnirelay_\w+:\w+", "\n".join(rule["expr"] for rule in RULES))
    assert set(recorded) <= RECORDED


def test_the_dashboard_shows_every_metric() -> None:
    shown = {
        re.sub("_(bucket|count|sum)$", "", name)
        for text in EXPRESSIONS
        for name in re.findall(r"\bomnirelay_\w+", text)
    }
    assert shown == METRICS


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
