"""`omnirelay mesh rebalance apply`: a plan as one change, or wave by wave, with pauses in which it can be stopped."""

from collections.abc import Callable, Iterator, Sequence

import click

from graph.cli.errors import ApiClient, Exit, Failure, committed
from graph.cli.options import change_input, change_options, force_option, server_options
from graph.cli.output import pluralized
from graph.cli.plans import named_plan, read_plan
from graph.cli.progress import progress_bar, stop_after, waiting
from graph.cli.proposals import proposal_of
from graph.cli.rebalance.shared import how_to_approve, how_to_replan, report_wave, size_of_waves
from graph.cli.suggestions import WAVE, suggest_retry
from graph.client.address import Address
from graph.client.records import Json
from persistence.model.fields import MAX_SHARDS_PER_CHANGE


@click.command("apply")
@click.argument("plan", metavar="PLAN")
@click.option(
    "--wave-size",
    type=click.IntRange(1, MAX_SHARDS_PER_CHANGE),
    help="Apply it in waves of at most this many moves, within the namespaces' move budgets; each is a change.",
)
@click.option(
    "--pause", type=click.FloatRange(min=0), default=0, show_default=True, help="Seconds to wait between two waves."
)
@click.option("--resume", is_flag=True, help="Go on with a plan that was stopped.")
@change_options
@force_option
@server_options
def apply_plan(
    *,
    plan: str,
    wave_size: int | None,
    pause: float,
    resume: bool,
    reason: str,
    ticket: str | None,
    actor: str | None,
    force_reason: str | None,
    server: Address,
    as_json: bool,
) -> None:
    """Make every move of a plan as one change, if nothing that it relies on has changed since; otherwise none.

    With --wave-size it is made in waves, one after another. Ctrl-C stops between two waves; what is left waits.

    PLAN is its id or how that begins, a file that `plan --json` wrote, or - for such a file on stdin.

    With --json one document a wave: plan, change and revision. The last two are null for a plan without moves.
    """
    wanted = named_plan(plan, server)
    change = change_input(reason, ticket, actor, force_reason)
    with ApiClient(server) as api:
        found = read_plan(api, wanted)
        if not found["moveCount"]:
            report_wave(found, None, as_json=as_json)
            return

        def make_wave(resume: bool) -> Json:  # noqa: FBT001 - the one thing that differs between waves
            given = {"planId": wanted.id, "maxMoves": wave_size, "resume": resume, "change": change}
            answer = api.change("ApplyPlan", given)
            return committed(answer, _how_to_go_on(api, answer, found, server))

        if wave_size is None:
            with waiting(f"Applying {pluralized(found['moveCount'] - found['movesMade'], 'move')}"):
                done = make_wave(resume)
            report_wave(done["plan"], done, as_json=as_json)
            return
        if found["status"] == "APPLIED":
            make_wave(resume)  # refused, with who applied it
        for done in waves(found, make_wave, pause, resume=resume):
            report_wave(done["plan"], done, as_json=as_json)


def _how_to_go_on(api: ApiClient, answer: Json, plan: Json, server: Address) -> Sequence[str]:
    match answer["__typename"]:
        case "StalePlan":
            stale = answer["plan"]
            made = f"{stale['movesMade']:,} of {pluralized(stale['moveCount'], 'move')} were made before"
            now = f"{made}, and no more now." if stale["movesMade"] else "Nothing was moved."
            return [
                f"{now} Plan again, and apply what comes out:",
                f"  {how_to_replan(stale, proposal_of(plan['proposal']['document']))}",
            ]
        case "PlanClosed" if answer["plan"]["status"] == "STOPPED":
            typed = click.get_current_context().params["wave_size"]
            size = size_of_waves(api, answer["plan"]) if typed is None else typed
            return ["If it shall go on:", f"  {suggest_retry(resume=True, wave_size=size)}"]
        case "PolicyViolation":
            return _within_the_rules({violation["rule"] for violation in answer["violations"]}, plan, server)
    return []


def _within_the_rules(broken: set[str], plan: Json, server: Address) -> Sequence[str]:
    """What mends it, where that is another command."""
    if broken == {"MOVE_BUDGET"}:
        return ["In waves it stays within the budget:", f"  {suggest_retry(wave_size=WAVE)}"]
    if "APPROVAL_REQUIRED" in broken:
        return how_to_approve(plan, server)
    return []


def waves(plan: Json, wave: Callable[[bool], Json], pause: float, *, resume: bool) -> Iterator[Json]:
    """What each wave came to, until the plan is applied. `wave` makes one; its argument is whether to resume.

    Only the first may resume: a stop of the plan meanwhile holds. Raises Failure at Ctrl-C, which never breaks a wave
    off, and whatever `wave` raises.
    """
    with progress_bar("Moving shards", plan["moveCount"]) as advance, stop_after("wave") as stopping:
        advance(plan["movesMade"])
        while plan["status"] != "APPLIED":
            done = wave(resume)
            resume = False
            advance(done["plan"]["movesMade"] - plan["movesMade"])
            plan = done["plan"]
            yield done
            if plan["status"] != "APPLIED" and stopping.wait(pause):
                raise _stopped(plan)


def _stopped(plan: Json) -> Failure:
    made = f"{plan['movesMade']:,} of {pluralized(plan['moveCount'], 'move')}"
    advice = ["To go on:", f"  {suggest_retry(resume=False)}"]
    return Failure(Exit.INTERRUPTED, f"Stopped between waves: {made} of plan {plan['id']} were made.", advice)
