"""`omnirelay mesh shards`: one module a command."""

import click

from graph.cli.lazy_commands import LazyCommands

__all__ = ["shards"]


@click.group(
    commands=LazyCommands(
        {
            "list": "graph.cli.shards.listing:list_shards",
            "get": "graph.cli.shards.getting:get_shard",
            "history": "graph.cli.shards.history:shard_history",
            "diff": "graph.cli.shards.diff:diff_shards",
            "watch": "graph.cli.shards.watch:watch_shards",
            "import": "graph.cli.shards.importing:import_shards",
            "export": "graph.cli.shards.exporting:export_shards",
            "set": "graph.cli.shards.setting:set_shard",
            "pin": "graph.cli.shards.pinning:pin_shard",
            "unpin": "graph.cli.shards.pinning:unpin_shard",
            "simulate": "graph.cli.shards.simulating:simulate_rebalance",
            "explain": "graph.cli.shards.explaining:explain_shard",
        }
    )
)
def shards() -> None:
    """Which mesh node owns which shard: now, in the past, and what changed."""
