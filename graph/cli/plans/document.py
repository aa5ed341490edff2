"""A plan named on the command line: by its id, or by a file with its document."""

from dataclasses import dataclass

import click

from graph.cli.exits import Exit, Failure
from graph.cli.text import shown
from persistence.planning.proposal import document_id, plan_id_problem, read_proposal


@dataclass(frozen=True, slots=True)
class NamedPlan:
    """`file` is where the id was taken from; null if it was given as it is."""

    id: str
    file: str | None = None


def named_plan(given: str) -> NamedPlan:
    """Raises Failure for what is neither the id of a plan nor a file with one. `-` is stdin.

    A document names itself, so whatever was changed in a file, its id is another plan's: of none that is kept.
    """
    if plan_id_problem(given) is None:
        return NamedPlan(given)
    name = "stdin" if given == "-" else shown(given)
    try:
        with click.open_file(given, "rb") as file:
            document = file.read().rstrip(b"\r\n").decode()
        read_proposal(document)
    except FileNotFoundError:
        message = f"{name} is neither the id of a plan, which has 32 hex digits, nor a file."
        raise Failure(Exit.INVALID, message, ["Which plans there are: omnirelay mesh rebalance list"]) from None
    except OSError as error:
        raise Failure(Exit.INVALID, f"{name} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError):
        advice = "'omnirelay mesh rebalance plan --json' writes one."
        raise Failure(Exit.INVALID, f"{name} is not a plan.", [advice]) from None
    return NamedPlan(document_id(document), name)


def no_such_plan(plan: NamedPlan) -> Failure:
    """The server keeps no plan of this id."""
    if plan.file is None:
        advice = "Which plans there are: omnirelay mesh rebalance list"
        return Failure(Exit.NOT_FOUND, f"There is no plan {plan.id}.", [advice])
    return Failure(
        Exit.NOT_FOUND,
        f"{plan.file} is not a plan of this server: there is none with its content ({plan.id}).",
        [
            "Either it was edited after it was written, or it is another server's, or it was simulated, not planned.",
            "Plan again with 'omnirelay mesh rebalance plan', and apply what comes out.",
        ],
    )
