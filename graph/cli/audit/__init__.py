"""`omnirelay mesh audit`."""

import click

from graph.cli.program import LazyCommands


@click.group(
    commands=LazyCommands(
        {
            "verify": "graph.cli.audit.verify:verify",
            "export": "graph.cli.audit.export:export",
            "check": "graph.cli.audit.check:check",
        }
    )
)
def audit() -> None:
    """Verify the audit log, export it, check it against the rules.

    These commands read the database itself: who verifies what a server says should not have to trust it.
    """
