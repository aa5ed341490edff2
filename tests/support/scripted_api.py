"""A server that is not there: answers by operation, and a record of the requests."""

from __future__ import annotations

from typing import Any

import pytest

from graph.cli.errors import Failure
from graph.client.http import Requests
from graph.client.records import Json


class Script:
    """`requests` are (operation, variables) in order. An answer is the data of a response, or what goes wrong."""

    def __init__(self, **answers: Json | Failure) -> None:
        self.answers = answers
        self.requests: list[tuple[str, Json]] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> Script:
        def send(_server: Requests, name: str, variables: Json | None = None) -> Json:
            self.requests.append((name, variables or {}))
            answer = self.answers[name]
            if isinstance(answer, Failure):
                raise answer
            return answer

        monkeypatch.setattr(Requests, "execute", send)
        return self

    @property
    def asked(self) -> list[str]:
        return [name for name, _ in self.requests]

    def given(self, name: str) -> Any:
        """The input of the one mutation of this name."""
        (variables,) = [variables for asked, variables in self.requests if asked == name]
        return variables["input"]
