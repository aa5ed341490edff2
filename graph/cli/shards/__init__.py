"""`omnirelay mesh shards`: one module a command."""

import click

from graph.cli.shards.diff import diff_shards
from graph.cli.shards.explaining import explain_shard
from graph.cli.shards.exporting import export_shards
from graph.cli.shards.getting import get_shard
from graph.cli.shards.history import shard_history
from graph.cli.shards.importing import import_shards
from graph.cli.shards.listing import list_shards
from graph.cli.shards.pinning import pin_shard, unpin_shard
from graph.cli.shards.setting import set_shard
from graph.cli.shards.simulating import simulate_rebalance
from graph.cli.shards.watch import watch_shards

__all__ = ["shards"]


@click.group(
    commands=[
        list_shards,
        get_shard,
        shard_history,
        diff_shards,
        watch_shards,
        import_shards,
        export_shards,
        set_shard,
        pin_shard,
        unpin_shard,
        simulate_rebalance,
        explain_shard,
    ]
)
def shards() -> None:
    """Which mesh node owns which shard: now, in the past, and what changed."""
