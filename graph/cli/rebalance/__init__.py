"""`omnirelay mesh rebalance`: one module a command."""

import click

from graph.cli.lazy_commands import LazyCommands

__all__ = ["rebalance"]


@click.group(
    commands=LazyCommands(
        {
            "plan": "graph.cli.rebalance.planning:plan_rebalance",
            "rollback": "graph.cli.rebalance.rolling_back:rollback_change",
            "list": "graph.cli.rebalance.listing:list_plans",
            "show": "graph.cli.rebalance.showing:show_plan",
            "approve": "graph.cli.rebalance.deciding:approve_plan",
            "reject": "graph.cli.rebalance.deciding:reject_plan",
            "apply": "graph.cli.rebalance.applying:apply_plan",
            "stop": "graph.cli.rebalance.deciding:stop_plan",
        }
    )
)
def rebalance() -> None:
    """Plans that bring shards to where their strategies want them, or back: made, reviewed, approved, applied."""
