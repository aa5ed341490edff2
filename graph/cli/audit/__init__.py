"""`omnirelay mesh audit`."""

import click

from graph.cli.lazy_commands import LazyCommands


@click.group(
    commands=LazyCommands(
        {
            "verify": "graph.cli.audit.verifying:verify",
            "export": "graph.cli.audit.exporting:export",
            "check": "graph.cli.audit.checking:check",
        }
    )
)
def audit() -> None:
    """Verify the audit log, export it, check it against the rules.

    These commands read the database itself: who verifies what a server says should not have to trust it.
    """
