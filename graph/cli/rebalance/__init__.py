"""`omnirelay mesh rebalance`: one module a command."""

import click

from graph.cli.program import LazyCommands

__all__ = ["rebalance"]


@click.group(
    commands=LazyCommands(
        {
            "plan": "graph.cli.rebalance.plan:plan_rebalance",
            "rollback": "graph.cli.rebalance.rollback:rollback_change",
            "list": "graph.cli.rebalance.list:list_plans",
            "show": "graph.cli.rebalance.show:show_plan",
            "approve": "graph.cli.rebalance.approve_reject_stop:approve_plan",
            "reject": "graph.cli.rebalance.approve_reject_stop:reject_plan",
            "apply": "graph.cli.rebalance.apply:apply_plan",
            "stop": "graph.cli.rebalance.approve_reject_stop:stop_plan",
        }
    )
)
def rebalance() -> None:
    """Plans that bring shards to where their strategies want them, or back: made, reviewed, approved, applied."""
