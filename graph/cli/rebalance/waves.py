"""A plan applied wave by wave: each one a change of its own, with a pause in which it can be stopped."""

from collections.abc import Callable, Iterator

from graph.cli.again import command_again
from graph.cli.exits import Exit, Failure
from graph.cli.interrupts import stop_after
from graph.cli.output import Json
from graph.cli.progress import progress_bar
from graph.cli.text import counted


def waves(plan: Json, wave: Callable[[bool], Json], pause: float, *, resume: bool) -> Iterator[Json]:
    """What each wave came to, until the plan is applied. `wave` makes one; it is told whether to resume.

    Only the first may resume: if somebody stops the plan meanwhile, that holds. Raises Failure at Ctrl-C, which never
    breaks a wave off, and whatever `wave` raises.
    """
    with progress_bar("Moving shards", plan["moveCount"]) as advance, stop_after("wave") as asked:
        advance(plan["movesMade"])
        while plan["status"] != "APPLIED":
            done = wave(resume)
            resume = False
            advance(done["plan"]["movesMade"] - plan["movesMade"])
            plan = done["plan"]
            yield done
            if plan["status"] != "APPLIED" and asked.wait(pause):
                raise _stopped(plan)


def _stopped(plan: Json) -> Failure:
    made = f"{plan['movesMade']:,} of {counted(plan['moveCount'], 'move')}"
    advice = ["To go on:", f"  {command_again(resume=False)}"]
    return Failure(Exit.INTERRUPTED, f"Stopped between waves: {made} of plan {plan['id']} were made.", advice)
