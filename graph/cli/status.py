"""`omnirelay mesh status`: the mesh on one screen, and what of it needs attention."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import click

from graph.cli.errors import ApiClient, Exit
from graph.cli.options import server_options
from graph.cli.output import (
    NOTHING,
    Column,
    Field,
    format_time,
    listed,
    made_by,
    pluralized,
    print_documents,
    print_fields,
    print_json,
    printable,
)
from graph.client.address import Address
from graph.client.http import pages, rows
from graph.client.records import Json
from persistence.model.records import NodeStatus

_SCANNED: Final = 20_000
"""Shards that are looked at one by one, unless all are requested."""

_PLANS: Final = 5

_NAMED: Final = 5
"""Shards that a problem names."""

_UNREGISTERED: Final = "NOT REGISTERED"

_UNFIT: Final = {
    _UNREGISTERED: "NODE_NOT_REGISTERED",
    "REMOVED": "NODE_REMOVED",
    "DOWN": "NODE_DOWN",
    "DRAINING": "NODE_DRAINING",
}
"""What is wrong with a node that has shards, the worst first, with the code of the problem."""

_SIMULATE: Final = "omnirelay mesh shards simulate"

_TIMEOUT: Final = 2.0
"""Seconds to wait for the metrics of a server."""

_NODES: Final = (
    Column("NODE", "nodeId"),
    Column("STATUS", "status"),
    Column("SHARDS", "owns"),
    Column("LEADS", "leads"),
)

_OPEN: Final = (
    Column("PLAN", "id"),
    Column("STATUS", "status"),
    Column("NAMESPACES", "namespaces", listed),
    Column("MOVES", "moveCount"),
    Column("DONE", "movesMade"),
    Column("EXPIRES", "expiresAt", format_time),
    Column("CREATED BY", "created", made_by),
)


@dataclass(slots=True)
class _Roles:
    """Of one node: shards it owns and leads, and some of their names. `leads` is null where it is not known."""

    owns: int = 0
    leads: int | None = 0
    names: list[str] = field(default_factory=list)

    def name(self, shard: Json) -> None:
        if len(self.names) < _NAMED:
            self.names.append(f"{shard['namespace']}/{shard['shardId']}")


@click.command("status")
@click.option("--all", "everything", is_flag=True, help="Look at every shard, however many.")
@server_options
def status(*, everything: bool, server: Address, as_json: bool) -> Exit:
    """Show the mesh on one screen: server, caller, nodes, freezes, open plans, and what needs attention.

    Exit code 1 if something does: a shard that is owned or led by a node that is not registered, DOWN, REMOVED or
    DRAINING, or no node that may take shards.

    With --json one document, with problems: a list of code, message and command.
    """
    with ApiClient(server) as api:
        found = api.execute("MeshStatus", {"first": _PLANS})
        now = datetime.fromisoformat(found["head"]["serverTime"])
        window = {"from": now.isoformat(), "to": (now + timedelta(seconds=1)).isoformat()}
        namespaces = list(rows(api, "FreezeCalendar", window))
        nodes = {
            node["nodeId"]: node for node in rows(api, "ListNodes", {"filter": {"statuses": [*map(str, NodeStatus)]}})
        }
        roles, is_complete = _roles(api, found["shardCounts"], nodes, everything=everything)
    document = _document(server, found, namespaces, nodes, roles, is_complete=is_complete)
    if as_json:
        print_json(document)
    else:
        _print(document)
    return Exit.NO if document["problems"] else Exit.OK


def _roles(
    api: ApiClient, counted: Json, nodes: Mapping[str, Json], *, everything: bool
) -> tuple[dict[str, _Roles], bool]:
    """By node, and whether shards were looked at one by one, which it takes to find leaders that are not registered."""
    found: defaultdict[str, _Roles] = defaultdict(_Roles, {name: _Roles() for name in nodes})
    for count in counted["counts"]:
        found[count["ownerNodeId"]].owns = count["shards"]
    if everything or counted["total"] <= _SCANNED:
        for page in pages(api, "ShardOwners", {"filter": {}}):
            for shard in page["nodes"]:
                _add(found, shard)
        return dict(found), True
    for name, roles in found.items():
        roles.leads = nodes[name].get("leaderCount") if name in nodes else None
        if roles.owns and _status(name, nodes) in _UNFIT:
            for shard in rows(api, "ShardOwners", {"filter": {"ownerNodeIds": [name]}}, _NAMED):
                roles.name(shard)
    return dict(found), False


def _add(found: defaultdict[str, _Roles], shard: Json) -> None:
    owner, leader = shard["ownerNodeId"], shard["leaderId"]
    found[owner].name(shard)
    if leader is not None:
        found[leader].leads = (found[leader].leads or 0) + 1
        if leader != owner:
            found[leader].name(shard)


def _status(node_id: str, nodes: Mapping[str, Json]) -> str:
    return str(nodes[node_id]["status"]) if node_id in nodes else _UNREGISTERED


def _document(
    server: Address,
    found: Json,
    namespaces: Sequence[Json],
    nodes: Mapping[str, Json],
    roles: Mapping[str, _Roles],
    *,
    is_complete: bool,
) -> Json:
    head, plans = found["head"], found["openPlans"]
    statuses = {name: _status(name, nodes) for name in roles}
    freezes = [
        {"namespace": namespace["name"], **window} for namespace in namespaces for window in namespace["freezesBetween"]
    ]
    return {
        "server": {"url": str(server), **_server_facts(server)},
        "program": _own_version(),
        "viewer": found["viewer"],
        "head": head,
        "namespaceCount": len(namespaces),
        "shardCount": found["shardCounts"]["total"],
        "everyShardSeen": is_complete,
        "nodes": Counter(node["status"] for node in nodes.values()),
        "unfit": [
            {"nodeId": name, "status": statuses[name], "owns": each.owns, "leads": each.leads}
            for name, each in sorted(roles.items())
            if statuses[name] in _UNFIT and (each.owns or each.leads)
        ],
        "freezes": freezes,
        "openPlans": {"count": plans["totalCount"], "exact": plans["totalCountIsExact"], "newest": plans["nodes"]},
        "problems": list(_problems(roles, statuses, nodes)),
    }


def _problems(roles: Mapping[str, _Roles], statuses: Mapping[str, str], nodes: Mapping[str, Json]) -> Iterator[Json]:
    """The worst first. In a mesh in which no node is registered, owners need not be."""
    if not nodes:
        return
    for status_of, code in _UNFIT.items():
        for name, each in sorted(roles.items()):
            if statuses[name] == status_of and (each.owns or each.leads):
                yield {"code": code, "message": _message(name, status_of, each), "command": _SIMULATE}
    if not any(node["status"] == "ACTIVE" for node in nodes.values()):
        message = "No node may take shards: none is ACTIVE"
        yield {"code": "NO_ACTIVE_NODE", "message": message, "command": "omnirelay mesh nodes list"}


def _message(name: str, status_of: str, roles: _Roles) -> str:
    """`node-1 is DOWN, and owns 12 shards and leads 3: orders/s1, orders/s2 ...`"""
    what = "not registered" if status_of == _UNREGISTERED else status_of
    owns = [f"owns {pluralized(roles.owns, 'shard')}"] if roles.owns else []
    leads = [f"leads {roles.leads:,}"] if roles.leads else []
    names = f": {', '.join(map(printable, roles.names))}" if roles.names else ""
    more = " ..." if len(roles.names) == _NAMED else ""
    return f"{printable(name)} is {what}, and {' and '.join([*owns, *leads])}{names}{more}"


def _own_version() -> str | None:
    try:
        return version("omnirelay-shards")
    except PackageNotFoundError:
        return None


_SAMPLE: Final = re.compile(
    r"^(omnirelay_build_info|omnirelay_feed_lag_revisions)(\{[^}]*\})? ([0-9]{1,18})(?:\.0)?$", re.MULTILINE
)

_LABEL: Final = re.compile(r'\b(\w+)="([^"]*)"')


def _server_facts(server: Address) -> Json:
    """Version and lag from its metrics; null where they cannot be read, as where a proxy does not pass them on."""
    import httpx2  # noqa: PLC0415 - which takes 0.1 s to import

    url = f"{server.graphql.removesuffix('/graphql')}/metrics"
    try:
        answer = httpx2.get(url, timeout=_TIMEOUT, trust_env=server.through_proxy)
    except (httpx2.HTTPError, httpx2.InvalidURL):
        return read_metrics("")
    return read_metrics(answer.text if answer.is_success else "")


def read_metrics(text: str) -> Json:
    """The version, and by how many revisions each worker is behind; null where there is no such metric."""
    facts: dict[str, Any] = {"version": None, "lag": None}
    for name, labels, value in _SAMPLE.findall(text):
        named = dict(_LABEL.findall(labels))
        if name == "omnirelay_build_info":
            facts["version"] = named.get("version")
        else:
            facts["lag"] = [*(facts["lag"] or []), {"worker": named.get("worker"), "revisions": int(value)}]
    return facts


def _print(document: Json) -> None:
    print_fields(list(_fields(document)))
    for columns, items in ((_NODES, document["unfit"]), (_OPEN, document["openPlans"]["newest"])):
        if items:
            click.echo()
            print_documents(columns, items)
    click.echo()
    problems = document["problems"]
    if not problems:
        click.echo("Nothing needs attention.")
        return
    click.echo(f"{pluralized(len(problems), 'problem')}:")
    for problem in problems:
        click.echo(f"  {problem['message']}.")
    for command in dict.fromkeys(problem["command"] for problem in problems):
        click.echo(f"To see what would be done about it: {command}")


def _fields(document: Json) -> Iterator[Field]:
    head, server, plans = document["head"], document["server"], document["openPlans"]
    yield "server", f"{server['url']} (version {printable(server['version'])}, {_lag(server['lag'])})"
    yield "this program", f"version {printable(document['program'])}"
    yield "you", _viewer(document["viewer"])
    yield "stream", f"revision {head['revision']}, read back to {head['oldestRevision']}"
    yield "newest change", format_time(head["committedAt"])
    yield "shards", f"{document['shardCount']:,} in {pluralized(document['namespaceCount'], 'namespace')}"
    yield "nodes", ", ".join(f"{count:,} {name}" for name, count in document["nodes"].items()) or NOTHING
    yield "frozen", "; ".join(map(_freeze, document["freezes"])) or NOTHING
    yield "open plans", f"{plans['count']:,}{'' if plans['exact'] else ' or more'}"
    if not document["everyShardSeen"]:
        yield "leaders", f"not looked at: more than {_SCANNED:,} shards (--all looks at every one)"


def _lag(lag: Sequence[Json] | None) -> str:
    if lag is None:
        return "how far behind is not known"
    most = max(each["revisions"] for each in lag)
    workers = f" of {pluralized(len(lag), 'worker')}" if len(lag) > 1 else ""
    return f"{'the last' if workers else 'it is'}{workers} {pluralized(most, 'revision')} behind"


def _viewer(viewer: Json) -> str:
    if not viewer["authRequired"]:
        return "anyone: this server needs no token"
    until = f", until {format_time(viewer['expiresAt'])}" if viewer["expiresAt"] else ""
    return f"{printable(viewer['subject'])}, who may {', '.join(viewer['scopes']) or 'do nothing'}{until}"


def _freeze(freeze: Json) -> str:
    return f"{printable(freeze['namespace'])} until {format_time(freeze['ends'])} ({printable(freeze['reason'])})"
