"""`omnirelay mesh rebalance`: one module a command."""

import click

from graph.cli.rebalance.applying import apply_plan
from graph.cli.rebalance.deciding import approve_plan, reject_plan, stop_plan
from graph.cli.rebalance.listing import list_plans
from graph.cli.rebalance.planning import plan_rebalance
from graph.cli.rebalance.rolling_back import rollback_change
from graph.cli.rebalance.showing import show_plan

__all__ = ["rebalance"]


@click.group(
    commands=[
        plan_rebalance,
        rollback_change,
        list_plans,
        show_plan,
        approve_plan,
        reject_plan,
        apply_plan,
        stop_plan,
    ]
)
def rebalance() -> None:
    """Plans that bring shards to where their strategies want them, or back: made, reviewed, approved, applied."""
