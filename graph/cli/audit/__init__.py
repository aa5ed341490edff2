"""`omnirelay mesh audit`."""

import click

from graph.cli.audit.checking import check
from graph.cli.audit.exporting import export
from graph.cli.audit.verifying import verify


@click.group(commands=[verify, export, check])
def audit() -> None:
    """Verify the audit log, export it, check it against the rules.

    These commands read the database itself: who verifies what a server says should not have to trust it.
    """
