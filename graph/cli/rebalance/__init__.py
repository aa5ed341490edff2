"""`omnirelay mesh rebalance`: one module a command."""

import click

from graph.cli.rebalance.applying import apply_plan
from graph.cli.rebalance.listing import list_plans
from graph.cli.rebalance.planning import plan_rebalance
from graph.cli.rebalance.showing import show_plan

__all__ = ["rebalance"]


@click.group(commands=[plan_rebalance, list_plans, show_plan, apply_plan])
def rebalance() -> None:
    """Plans that bring shards to where their strategies want them: made, reviewed, applied."""
