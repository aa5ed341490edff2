"""Copies of the shard table that are kept by following the change stream."""

from persistence.replica.following import Replica, ReplicaLimits, following
from persistence.replica.reader import ReplicaShards
from persistence.replica.writing import noting
from persistence.shard_table import ShardTable

__all__ = ["Replica", "ReplicaLimits", "ReplicaShards", "ShardTable", "following", "noting"]
