"""The program: its commands, each imported when it is used, and how each of them ends."""

import os
import sys
import traceback
from collections import UserDict
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from importlib import import_module
from typing import Any

import click

from graph.cli.completion import COMPLETION, have_completed
from graph.cli.errors import Exit, Failure, PipeClosed, failing
from graph.cli.output import print_status, printable


class _Program(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Under another name, or click ends the process with 1, which here is an answer.
            raise PipeClosed from None


class LazyCommands(UserDict[str, Any]):
    """For `commands` of a click group: the name of each command, and `module:variable` where it is defined.

    Looking a command up imports its module: no command waits for what another one needs.
    """

    def __getitem__(self, name: str) -> click.Command:
        """Raises KeyError if the group has no such command."""
        command = self.data[name]
        if isinstance(command, str):
            module, _, variable = command.partition(":")
            command = self.data[name] = getattr(import_module(module), variable)
        return have_completed(command) if COMPLETION in os.environ else command


@click.group(
    cls=_Program,
    commands=LazyCommands(
        {
            "serve": "graph.cli.serve:serve",
            "db": "graph.cli.db:db",
            "schema": "graph.cli.schema:schema",
            "token": "graph.cli.token:token",
            "context": "graph.cli.context:context",
            "completion": "graph.cli.completion:completion",
            "mesh": "graph.cli.program:mesh",
        }
    ),
)
@click.version_option(package_name="omnirelay-shards")
def omnirelay() -> None:
    """The shard ownership store: which mesh node owns which shard, since when, by whose decision."""


@click.group(
    commands=LazyCommands(
        {
            "status": "graph.cli.status:status",
            "shards": "graph.cli.shards:shards",
            "namespaces": "graph.cli.namespaces:namespaces",
            "policy": "graph.cli.policy:policy",
            "freeze": "graph.cli.freeze:freeze",
            "thaw": "graph.cli.freeze:thaw",
            "nodes": "graph.cli.nodes:nodes",
            "rebalance": "graph.cli.rebalance:rebalance",
            "changes": "graph.cli.changes:changes",
            "refusals": "graph.cli.refusals:refusals",
            "audit": "graph.cli.audit:audit",
        }
    )
)
def mesh() -> None:
    """Ask a running server, or change what it holds. Each command takes --server; `audit` reads the database."""


def _result(arguments: Sequence[str]) -> object:
    """What the command returns. Raises Failure for a file, or an output, that cannot be used."""
    try:
        result: object = omnirelay.main(list(arguments), prog_name="omnirelay", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        why = error.strerror or str(error)
        raise Failure(Exit.INVALID, f"A file, or the output, cannot be used: {where}{why}.") from error
    return result


def run(arguments: Sequence[str]) -> int:
    """Run a command; its exit code. Data goes to stdout, everything else to stderr."""
    return _complete(arguments) if COMPLETION in os.environ else _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    try:
        with failing():  # what an answer lacks is found where it is used
            result = _result(arguments)
    except Failure as failure:
        print_status("\n".join(printable(line) for line in (failure.message, *failure.advice)))
        _discard_output()
        return failure.exit
    except click.ClickException as error:
        error.show()
        return Exit.INVALID
    except click.Abort:
        print_status("Interrupted.")
        return Exit.INTERRUPTED
    except (PipeClosed, BrokenPipeError):
        _discard_output()
        return Exit.PIPE_CLOSED
    except Exception:  # noqa: BLE001 - whatever it is, Python's exit code 1 would be taken for an answer
        print_status(traceback.format_exc() + "This is a defect of omnirelay; please report it with the lines above.")
        return Exit.INTERNAL
    return result if isinstance(result, int) else Exit.OK


def _complete(arguments: Sequence[str]) -> int:
    """What a shell's script for completion requests. Whatever goes wrong, its terminal shows nothing of it."""
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere), suppress(Exception, SystemExit, KeyboardInterrupt):  # noqa: PTH123 - no path
        omnirelay.main(list(arguments), prog_name="omnirelay", complete_var=COMPLETION)
    return Exit.OK


def _discard_output() -> None:
    """After the reader has gone, or on a full disk: what Python flushes when it ends goes nowhere."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
