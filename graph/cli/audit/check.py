"""`omnirelay mesh audit check`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from graph.cli.errors import Exit
from graph.cli.lookups import unknown_namespace
from graph.cli.offline import run_on_database
from graph.cli.options import database_options, json_option
from graph.cli.output import pluralized, print_json, print_status, print_table
from graph.cli.points_in_time import PAST_TIME, TIME, Time, require_order
from graph.cli.progress import progress_so_far

if TYPE_CHECKING:
    from persistence.audit.compliance import Report, RuleBreach


_LISTED = 100


@click.command()
@click.option("--since", type=PAST_TIME, help="Only changes from this time on, or from 15m, 2h, 3d ago on.")
@click.option("--until", type=TIME, help="Only changes from before this time.")
@click.option("--namespace", help="Only this namespace.")
@json_option
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
    listed apart, and so are shards that no plan has moved yet to where they belong since nodes or parameters changed.
    Exit with 1 if a rule was broken. --json writes one document.
    """
    from graph.server.composition import audit_unless_namespace, check_audit  # noqa: PLC0415 - clients need not load it
    from persistence.audit.compliance import CheckFilter  # noqa: PLC0415 - same

    require_order(since, until)
    where = CheckFilter(namespace, since.at if since else None, until.at if until else None)

    async def work(url: str) -> Report:
        from migrations import require_compatible  # noqa: PLC0415 - clients need not load what talks to databases

        await require_compatible(url)
        if namespace is not None and (others := await audit_unless_namespace(url, namespace)) is not None:
            raise unknown_namespace(namespace, others)
        with progress_so_far("Checking") as progress:
            return await check_audit(url, where, progress)

    report = run_on_database(config, data_dir, database_url, work)
    if namespace is not None and not report.namespace_exists:
        raise unknown_namespace(namespace, ())
    if as_json:
        print_json(_document(report))
    else:
        _print(report)
    return Exit.NO if report.breaches else Exit.OK


def _document(report: Report) -> dict[str, Any]:
    return {
        "compliant": not report.breaches,
        "changes": str(report.changes),
        "shards": str(report.shards),
        "floor": str(report.floor),
        "overriddenShards": str(report.overridden),
        "pendingShards": str(len(report.pending)),
        "pending": list(map(_breach, report.pending)),
        "offences": list(map(_breach, report.breaches)),
        "forced": list(map(_breach, report.forced)),
    }


def _breach(breach: RuleBreach) -> dict[str, Any]:
    return {
        "rule": breach.rule,
        "subject": breach.subject,
        "changeId": str(breach.change_id),
        "at": breach.at.isoformat().replace("+00:00", "Z"),
        "actor": breach.actor,
        "actual": breach.actual,
        "allowed": breach.allowed,
        "remedy": breach.remedy,
        "forced": breach.forced,
    }


def _print(report: Report) -> None:
    if report.breaches:
        columns = ["RULE", "CHANGE", "TIME", "ACTOR", "ABOUT", "ACTUAL", "ALLOWED", "REMEDY"]
        print_table(columns, [(*_cells(one), one.remedy) for one in report.breaches[:_LISTED]])
        _print_rest(report.breaches)
    if report.forced:
        print_status(f"{pluralized(len(report.forced), 'rule')} forced, with a reason on record:")
        columns = ["RULE", "CHANGE", "TIME", "ACTOR", "ABOUT", "ACTUAL", "ALLOWED", "REASON"]
        print_table(columns, [(*_cells(one), one.forced) for one in report.forced[:_LISTED]])
        _print_rest(report.forced)
    if report.floor:
        print_status(
            f"Rows up to revision {report.floor} were compacted: of the moves before only the tickets were checked."
        )
    if report.pending:
        print_status(
            f"{pluralized(len(report.pending), 'shard')} to be moved since nodes, parameters or hints changed: no rule "
            "is broken, a plan was not applied yet (omnirelay mesh rebalance plan). --json lists them."
        )
    if report.overridden:
        print_status(
            f"{pluralized(report.overridden, 'shard')} not where the strategy says, because a person decided so."
        )
    broken = pluralized(len(report.breaches), "rule") + " broken." if report.breaches else "no rule broken."
    print_status(f"Checked {pluralized(report.changes, 'change')} and {pluralized(report.shards, 'shard')}: {broken}")


def _cells(breach: RuleBreach) -> tuple[object, ...]:
    at = breach.at.replace(microsecond=0, tzinfo=None).isoformat() + "Z"
    return breach.rule, breach.change_id, at, breach.actor, breach.subject, breach.actual, breach.allowed


def _print_rest(breaches: Sequence[RuleBreach]) -> None:
    if len(breaches) > _LISTED:
        print_status(f"... and {len(breaches) - _LISTED:,} more; --json has them all.")
