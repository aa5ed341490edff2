"""`omnirelay serve` in a process of its own, on a database of the test's, and a blocking client of it."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from graph.operations import operation
from tests.support.command_line import Answer, Running, omnirelay, started


@dataclass(frozen=True)
class RealServer:
    """The process, and how to talk to it: GraphQL operations by name, commands of the CLI."""

    process: Running
    url: str
    http: httpx2.Client

    def ask(self, name: str, /, **variables: Any) -> Any:
        """The one field that an operation of frontend-queries answers with."""
        return self.query(operation(name), **variables)

    def query(self, document: str, /, **variables: Any) -> Any:
        response = self.http.post(f"{self.url}/graphql", json={"query": document, "variables": variables})
        answer = response.json()
        assert "errors" not in answer, answer
        (value,) = answer["data"].values()
        return value

    def change(self, name: str, typename: str, /, **given: Any) -> dict[str, Any]:
        """A mutation that must end as `typename`."""
        change = {"actor": "ops", "reason": "a test asks for it", **given.pop("change", {})}
        answer: dict[str, Any] = self.ask(name, input={**given, "change": change})
        assert answer["__typename"] == typename, json.dumps(answer)[:2_000]
        return answer

    def command(self, *arguments: object) -> Answer:
        """A command that must succeed."""
        answer = omnirelay("mesh", *arguments, "--server", self.url)
        assert answer.exit == 0, answer
        return answer


@contextmanager
def real_server(
    database_url: str, *options: object, environment: Mapping[str, str] | None = None
) -> Iterator[RealServer]:
    """As it is deployed, but without processes that plan unless the environment has some. Stopped with SIGTERM in the
    end, and must end well then."""
    command = ("serve", "--port", 0, "--no-demo", "--database-url", database_url, *options)
    with started(*command, environment=environment) as process:
        address = re.fullmatch(r"GraphiQL +(http://127\.0\.0\.1:\d+)/graphql", process.line())
        assert address
        with httpx2.Client(timeout=60) as http:
            yield RealServer(process, address[1], http)
        process.send(signal.SIGTERM)
        ended = process.finish()
        assert ended.exit == 0, ended
