"""`omnirelay mesh shards`: one module a command."""

import click

from graph.cli.program import LazyCommands

__all__ = ["shards"]


shards = click.Group(
    "shards",
    help="Which mesh node owns which shard: now, in the past, and what changed.",
    commands=LazyCommands(
        {
            "list": "graph.cli.shards.list:list_shards",
            "get": "graph.cli.shards.get:get_shard",
            "history": "graph.cli.shards.history:shard_history",
            "diff": "graph.cli.shards.diff:diff_shards",
            "watch": "graph.cli.shards.watch:watch_shards",
            "import": "graph.cli.shards.import_:import_shards",
            "export": "graph.cli.shards.export:export_shards",
            "set": "graph.cli.shards.set:set_shard",
            "delete": "graph.cli.shards.delete:delete_shards",
            "pin": "graph.cli.shards.pin:pin_shard",
            "unpin": "graph.cli.shards.pin:unpin_shard",
            "simulate": "graph.cli.shards.simulate:simulate_rebalance",
            "explain": "graph.cli.shards.explain:explain_shard",
        }
    ),
)
