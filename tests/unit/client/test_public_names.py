"""What `graph.client` offers, and what it does not drag along."""

from __future__ import annotations

import subprocess
import sys

import pytest

import graph.client


def test_every_public_name_is_there() -> None:
    for name in graph.client.__all__:
        assert getattr(graph.client, name).__name__ == name


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = graph.client.Nonsense


def test_a_mesh_node_loads_nothing_of_the_server() -> None:
    program = (
        "import sys\n"
        "from graph.client import MeshClient\n"
        "server = {'strawberry', 'graphql', 'starlette', 'uvicorn', 'sqlalchemy', 'asyncpg', 'pydantic', 'numpy'}\n"
        "server |= {'jwt', 'cryptography'}\n"
        "print(*(server & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)  # noqa: S603 - our own code
    assert (answer.stdout, answer.stderr) == ("\n", "")
