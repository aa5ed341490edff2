"""What commands for plans print: how a plan goes on, by the next command, and what a wave came to."""

from collections.abc import Sequence
from typing import Final

import click

from graph.cli.errors import ApiClient
from graph.cli.output import format_percent, listed, pluralized, print_json, print_status, printable
from graph.cli.suggestions import WAVE, suggest_next, suggest_to_another
from graph.client.address import Address
from graph.client.http import rows
from graph.client.records import Json
from persistence.planning.proposal import Proposal

_FEW: Final = 10

_WAVES_READ: Final = 50

_APPLY: Final = "omnirelay mesh rebalance apply"


def print_how_to_apply(api: ApiClient, plan: Json, server: Address) -> None:
    """In waves: more than a budget would be refused at once. Where a policy requires approval, that comes first."""
    requiring = [
        found["name"]
        for found in rows(api, "ListNamespaces", {})
        if found["name"] in plan["namespaces"] and found["policy"]["approvalRequired"]
    ]
    made = f"This is plan {plan['id']}; nothing has moved yet."
    if requiring and plan["approved"] is None:
        print_status(made)
        print_status(f"{printable(listed(requiring))} requires approval.")
        print_status("\n".join(how_to_approve(plan, server)))
        print_status("Once it is approved, to apply it:")
    else:
        print_status(f"{made} To apply it:")
    print_status(f"  {how_to_apply(plan)}")


def how_to_apply(plan: Json) -> str:
    return suggest_next(_APPLY, "--wave-size", str(WAVE), arguments=[plan["id"]])


def how_to_approve(plan: Json, server: Address) -> Sequence[str]:
    """For another operator, who has a token of their own."""
    submitter = printable(plan["created"]["actor"])
    command = suggest_to_another("omnirelay mesh rebalance approve", arguments=[plan["id"]], server=server)
    return [f"Somebody else than {submitter}, who made it, approves it with:", f"  {command}"]


def how_to_resume(api: ApiClient, plan: Json) -> str:
    """In waves of the size that it had, for the reason and ticket that the plan was made for: those of the command
    under way may be why it was stopped."""
    created = plan["created"]
    ticket = ["--ticket", created["changeTicket"]] if created["changeTicket"] else []
    words = ["--wave-size", str(size_of_waves(api, plan)), "--resume", "--reason", created["reason"], *ticket]
    return suggest_next(_APPLY, *words, arguments=[plan["id"]], without=("reason", "ticket"))


def size_of_waves(api: ApiClient, plan: Json) -> int:
    """That of the largest one that was made last. One that was made of all at once is none."""
    history = api.execute("PlanHistory", {"id": plan["id"], "first": _WAVES_READ})["rebalancePlan"]
    moved = [change["rebalance"]["moved"] for change in history["changes"]["nodes"] if change["kind"] == "APPLY_PLAN"]
    return min(WAVE, max(moved, default=WAVE))


def how_to_replan(plan: Json, proposal: Proposal) -> str:
    """The plan once more: of the same namespaces, narrowed to the same, or taking back the same."""
    if (taken_back := proposal.rollback) is not None:
        named = (
            ("--of-change", taken_back.change_id),
            ("--of-ticket", taken_back.change_ticket),
            ("--since", taken_back.since_revision),
            ("--namespace", taken_back.namespace),
        )
        words = [word for option, value in named if value is not None for word in (option, str(value))]
        return suggest_next("omnirelay mesh rebalance rollback", *words)
    scope = proposal.scope
    narrowed: list[tuple[str, Sequence[str]]] = [("--namespace", _namespaces(plan))]
    if scope is not None:
        narrowed += [("--vacate", scope.vacate), ("--only", [str(reason) for reason in scope.only_reasons])]
    if proposal.threshold is not None:
        narrowed.append(("--threshold", [str(proposal.threshold)]))
    words = [word for option, values in narrowed for value in values for word in (option, value)]
    return suggest_next("omnirelay mesh rebalance plan", *words)


def _namespaces(plan: Json) -> Sequence[str]:
    """None where they are so many that all of them will have been meant."""
    names: Sequence[str] = plan["namespaces"]
    return names if len(names) <= _FEW else ()


def report_wave(plan: Json, done: Json | None, *, as_json: bool) -> None:
    """`done` is what applying it, or a wave of it, came to; null where there was nothing to do."""
    if as_json:
        without_moves = {name: value for name, value in plan.items() if name != "proposal"}
        print_json(
            {
                "plan": without_moves,
                "change": done and done["change"],
                "revision": done and done["revision"],
            }
        )
        return
    if done is None:
        click.echo(f"Plan {plan['id']} has no moves: there is nothing to apply.")
        return
    where = f"revision {done['revision']}, change {done['change']['id']}"
    if plan["status"] != "APPLIED":
        made = f"{plan['movesMade']:,} of {pluralized(plan['moveCount'], 'move')}"
        click.echo(f"Plan {plan['id']}: {made} made, {where}.")
        return
    click.echo(
        f"Plan {plan['id']} is applied: {plan['moveCount']:,} of {pluralized(plan['shardCount'], 'shard')} moved "
        f"({format_percent(plan['movedPercent'])}), {where}."
    )
