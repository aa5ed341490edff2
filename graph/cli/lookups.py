"""Names that there are not: a failure with the nearest that there is, so that no typo is taken for an empty answer.

Namespaces are the server's: it answers NOT_FOUND for one that a filter names. Owners and shards of the past need not
be registered or be there any more, so a filter of theirs is checked here, where it has found nothing.
"""

from collections.abc import Iterable

from graph.cli.errors import LIST_NAMESPACES, LIST_NODES, ApiClient, Exit, Failure
from graph.cli.output import printable
from graph.client.http import pages, rows
from graph.client.records import Json
from persistence.model.fields import did_you_mean


def require_nodes(api: ApiClient, node_ids: Iterable[str]) -> None:
    """Raises Failure for one that was never registered."""
    for node_id in node_ids:
        if api.execute("NodeDetails", {"nodeId": node_id})["node"] is None:
            raise unknown_node(api, node_id)


def require_owners(api: ApiClient, node_ids: Iterable[str]) -> None:
    """Raises Failure for one that was never registered and has never owned a shard."""
    for node_id in node_ids:
        registered = api.execute("NodeDetails", {"nodeId": node_id})["node"] is not None
        if not (registered or _has_history(api, {"ownerNodeId": node_id})):
            raise unknown_node(api, node_id)


def require_shard(api: ApiClient, namespace: str, shard_id: str) -> None:
    """Raises Failure for one that there never was."""
    if not _has_history(api, {"namespace": namespace, "shardId": shard_id}):
        raise unknown_shard(api, namespace, shard_id)


def read_namespace(api: ApiClient, name: str) -> Json:
    """Raises Failure if there is none."""
    found = api.execute("NamespaceDetails", {"name": name})["namespace"]
    if found is None:
        raise unknown_namespace(name, (each["name"] for each in rows(api, "NamespaceNames", {})))
    return dict(found)


def unknown_namespace(name: str, others: Iterable[str]) -> Failure:
    return _unknown(f"namespace {printable(name)}", name, others, LIST_NAMESPACES)


def unknown_node(api: ApiClient, node_id: str) -> Failure:
    nodes = next(pages(api, "ListNodes", {}))["nodes"]
    return _unknown(f"node {printable(node_id)}", node_id, [node["nodeId"] for node in nodes], LIST_NODES)


def unknown_shard(api: ApiClient, namespace: str, shard_id: str) -> Failure:
    """The nearest is looked for among those that have half of its id in common."""
    where = {"namespace": namespace, "search": shard_id[: max(1, len(shard_id) // 2)]}
    shards = next(pages(api, "ListShards", {"filter": where}))["nodes"]
    what = f"shard {printable(namespace)}/{printable(shard_id)}, and never was one"
    others = [shard["shardId"] for shard in shards]
    return _unknown(what, shard_id, others, f"What there is: omnirelay mesh shards list --namespace {namespace}")


def _unknown(what: str, name: str, others: Iterable[str], advice: str) -> Failure:
    meant = did_you_mean(name, others).removeprefix("; d")
    return Failure(Exit.NOT_FOUND, f"There is no {what}.", [*([f"D{meant}"] if meant else ()), advice])


def _has_history(api: ApiClient, where: Json) -> bool:
    """True also where the server has looked at as many rows as it does at once without finding one."""
    page = next(pages(api, "ShardHistory", {"filter": where}, 1))
    return bool(page["nodes"] or page["pageInfo"]["hasNextPage"])
