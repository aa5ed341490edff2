"""The configuration of Patroni that operators read is the one that the harness runs."""

from __future__ import annotations

from string import Template

from tests.failover.cluster import TEMPLATE
from tests.failover.installation import ROOT


def test_the_documentation_quotes_the_configuration_that_the_harness_uses() -> None:
    assert f"```yaml\n{TEMPLATE.read_text()}```\n" in (ROOT / "docs/operations/fail-over.md").read_text()


def test_the_harness_puts_in_all_that_begins_with_a_dollar_sign() -> None:
    given = {"name", "folder", "bin_dir", "postgres_port", "rest_port", "etcd_port"}
    assert set(Template(TEMPLATE.read_text()).get_identifiers()) == given
