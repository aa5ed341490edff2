"""The program: its commands, and how each of them ends."""

import os
import sys
import traceback
from collections.abc import Sequence

import click

from graph.cli.exits import Exit, Failure, PipeClosed
from graph.cli.lazy_commands import LazyCommands
from graph.cli.output import tell
from graph.cli.text import shown


class _Program(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Under another name, or click ends the process with 1, which here is an answer.
            raise PipeClosed from None


@click.group(
    cls=_Program,
    commands=LazyCommands(
        {
            "serve": "graph.cli.serve:serve",
            "db": "graph.cli.database:db",
            "schema": "graph.cli.schema:schema",
            "token": "graph.cli.tokens:token",
            "mesh": "graph.cli.mesh:mesh",
        }
    ),
)
@click.version_option(package_name="omnirelay-shards")
def omnirelay() -> None:
    """The shard ownership store: which mesh node owns which shard, since when, by whose decision."""


def run(arguments: Sequence[str]) -> int:
    """Run a command; its exit code. Data goes to stdout, everything else to stderr."""
    try:
        result = omnirelay.main(list(arguments), prog_name="omnirelay", standalone_mode=False)
        sys.stdout.flush()
    except Failure as failure:
        tell("\n".join(shown(line) for line in (failure.message, *failure.advice)))
        _let_go_of_output()
        return failure.exit
    except click.ClickException as error:
        error.show()
        return Exit.INVALID
    except click.Abort:
        tell("Interrupted.")
        return Exit.INTERRUPTED
    except (PipeClosed, BrokenPipeError):
        _let_go_of_output()
        return Exit.PIPE_CLOSED
    except Exception:  # noqa: BLE001 - the last line: whatever it is, 1 would be taken for an answer
        tell(traceback.format_exc() + "This is a defect of omnirelay; please report it with the lines above.")
        return Exit.INTERNAL
    return result if isinstance(result, int) else Exit.OK


def _let_go_of_output() -> None:
    """Nobody reads any more, or the disk is full: what Python still wants to write when it ends goes nowhere."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
