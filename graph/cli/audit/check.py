"""`omnirelay mesh audit check`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graph.cli.errors import Exit, Failure
from graph.cli.offline import run_on_database
from graph.cli.options import database_options
from graph.cli.output import pluralized, print_json, print_status
from graph.cli.points_in_time import Time, TimeParameter
from graph.cli.progress import progress_so_far
from graph.cli.tables import print_table

if TYPE_CHECKING:
    from persistence.audit.compliance import Report, RuleBreach


_SHOWN = 100

LIST_NAMESPACES = "What namespaces there are: omnirelay mesh namespaces list"


@click.command()
@click.option("--since", type=TimeParameter(), help="Only changes from this time on, or from 15m, 2h, 3d ago on.")
@click.option("--until", type=TimeParameter(), help="Only changes from before this time.")
@click.option("--namespace", help="Only this namespace.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")
@database_options
def check(
    *,
    since: Time | None,
    until: Time | None,
    namespace: str | None,
    as_json: bool,
    config: Path | None,
    data_dir: Path | None,
    database_url: str | None,
) -> Exit:
    """Hold every change against the rules that were in force when it was made, and every owner against its strategy.

    Tickets present and of the form asked for, plans approved by somebody else, moves within budgets, windows and
    freezes; and each shard where its strategy has it, unless a pin or a person decided otherwise. What was forced is
    listed apart. Exit with 1 if a rule was broken. --json writes one document.
    """
    from graph.server.composition import check_audit  # noqa: PLC0415 - clients need not load it
    from persistence.audit.compliance import CheckFilter  # noqa: PLC0415 - same

    where = CheckFilter(namespace, since.at if since else None, until.at if until else None)

    async def work(url: str) -> Report:
        from migrations import require_compatible  # noqa: PLC0415 - clients need not load what talks to databases

        await require_compatible(url)
        with progress_so_far("Checking") as progress:
            return await check_audit(url, where, progress)

    report = run_on_database(config, data_dir, database_url, work)
    if not report.namespace_exists:
        raise Failure(Exit.NOT_FOUND, f"There is no namespace {namespace}.", [LIST_NAMESPACES])
    if as_json:
        print_json(_document(report))
    else:
        _show(report)
    return Exit.NO if report.breaches else Exit.OK


def _document(report: Report) -> dict[str, Any]:
    return {
        "compliant": not report.breaches,
        "changes": str(report.changes),
        "shards": str(report.shards),
        "floor": str(report.floor),
        "overriddenShards": str(report.overridden),
        "offences": list(map(_offence, report.breaches)),
        "forced": list(map(_offence, report.forced)),
    }


def _offence(offence: RuleBreach) -> dict[str, Any]:
    return {
        "rule": offence.rule,
        "subject": offence.subject,
        "changeId": str(offence.change_id),
        "at": offence.at.isoformat().replace("+00:00", "Z"),
        "actor": offence.actor,
        "actual": offence.actual,
        "allowed": offence.allowed,
        "remedy": offence.remedy,
        "forced": offence.forced,
    }


def _show(report: Report) -> None:
    if report.breaches:
        columns = ["RULE", "CHANGE", "WHEN", "WHO", "WHAT", "IS", "ALLOWED", "TO DO"]
        print_table(columns, [(*_facts(one), one.remedy) for one in report.breaches[:_SHOWN]])
        _tell_more(report.breaches)
    if report.forced:
        print_status(f"{pluralized(len(report.forced), 'rule')} forced, with a reason on record:")
        columns = ["RULE", "CHANGE", "WHEN", "WHO", "WHAT", "IS", "ALLOWED", "REASON"]
        print_table(columns, [(*_facts(one), one.forced) for one in report.forced[:_SHOWN]])
        _tell_more(report.forced)
    if report.floor:
        print_status(
            f"Rows up to revision {report.floor} were compacted: of the moves before only the tickets were checked."
        )
    if report.overridden:
        print_status(
            f"{pluralized(report.overridden, 'shard')} not where the strategy says, because a person decided so."
        )
    broken = pluralized(len(report.breaches), "rule") + " broken." if report.breaches else "no rule broken."
    print_status(f"Checked {pluralized(report.changes, 'change')} and {pluralized(report.shards, 'shard')}: {broken}")


def _facts(offence: RuleBreach) -> tuple[object, ...]:
    at = offence.at.replace(microsecond=0, tzinfo=None).isoformat() + "Z"
    return offence.rule, offence.change_id, at, offence.actor, offence.subject, offence.actual, offence.allowed


def _tell_more(offences: Sequence[RuleBreach]) -> None:
    if len(offences) > _SHOWN:
        print_status(f"... and {len(offences) - _SHOWN:,} more; --json has them all.")
