"""The server that a command asks: what goes wrong there is what the command fails with."""

from types import TracebackType
from typing import Self

from graph.cli.errors import failing
from graph.cli.output import Json
from graph.client.address import Address


class Api:
    """One server. Used as a context manager: connections stay open from one request to the next."""

    def __init__(self, address: Address) -> None:
        from graph.client.requests import Requests  # noqa: PLC0415 - HTTP takes long to load, and --help needs none

        self._requests = Requests(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._requests.__exit__(kind, error, trace)

    def ask(self, name: str, variables: Json | None = None) -> Json:
        """The data a query answers with. Raises Failure."""
        return self._send(name, variables or {}, "Try again.")

    def change(self, name: str, given: Json) -> Json:
        """What a mutation answers, committed or refused: a member of its result's union. Raises Failure."""
        unknown = "Whether the change was made is not known: look before you try again."
        (answer,) = self._send(name, {"input": given}, unknown).values()
        return dict(answer)

    def _send(self, name: str, variables: Json, if_broken_off: str) -> Json:
        with failing(if_broken_off):
            return self._requests.ask(name, variables)
