"""A client of the store for Python programs: `MeshClient` maintains a table; the command line has requests and streams.

It needs nothing of the server. Names are loaded when they are used: a program that only sends requests loads no more.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from graph.client.credentials import token_file
    from graph.client.errors import ClientError, OperationRefused
    from graph.client.mesh_client import MeshClient, NotReady
    from graph.client.state import Counters, Lag, State
    from graph.client.table import ShardChange, TableChange

__all__ = [
    "ClientError",
    "Counters",
    "Lag",
    "MeshClient",
    "NotReady",
    "OperationRefused",
    "ShardChange",
    "State",
    "TableChange",
    "token_file",
]

_HOMES: Final = {
    "ClientError": "errors",
    "Counters": "state",
    "Lag": "state",
    "MeshClient": "mesh_client",
    "NotReady": "mesh_client",
    "OperationRefused": "errors",
    "ShardChange": "table",
    "State": "state",
    "TableChange": "table",
    "token_file": "credentials",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
