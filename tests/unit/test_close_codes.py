"""Which codes close a socket, and what clients make of them."""

from __future__ import annotations

import inspect
import re
from typing import Final

from strawberry.http import async_base_view
from strawberry.subscriptions.protocols.graphql_transport_ws import handlers
from uvicorn.protocols.websockets import websockets_sansio_impl

from graph.close_codes import CloseCode, is_final

# As `shouldRetryConnectOrThrow` of npm graphql-ws 6.4 has it; `make clients` tries the client itself.
RETRIED: Final = {1000, 1001, 1005, 1006, 1012, 1013, 1014}
FATAL: Final = {4400, 4401, 4406, 4409, 4429, 4500, 4004, 4005}

NEVER_SENT: Final = {1000, 1006, 1011}
"""By uvicorn: what an application does not send, what is no code on the wire, and what `WebSocketProtocol` replaces."""


def retried_by_the_official_client(code: int) -> bool:
    return code in RETRIED if code < 2_000 else code not in FATAL


def test_the_official_client_comes_back_where_it_should_and_nowhere_else() -> None:
    assert {code: code.comes_back for code in CloseCode} == {
        code: retried_by_the_official_client(code) for code in CloseCode
    }


def test_codes_of_others_are_not_final() -> None:
    assert [code for code in (1000, 1006, 1011, 1013, 1014, 4499, 4500) if is_final(code)] == []
    assert [code for code in CloseCode if is_final(code)] == [code for code in CloseCode if not code.comes_back]


def test_no_library_closes_with_a_code_that_is_not_listed() -> None:
    """Strawberry's handler and uvicorn's protocol close sockets on their own: a new version may have a new code."""
    strawberry = inspect.getsource(handlers) + inspect.getsource(async_base_view)
    said = {int(code) for code in re.findall(r"close\(\s*(?:code=)?(\d{4})", strawberry)}
    uvicorn = inspect.getsource(websockets_sansio_impl)
    said |= {
        int(code)
        for code in re.findall(r"(?:send_close|fail)\((\d{4})|\"code\": (\d{4})", uvicorn)
        for code in code
        if code
    }
    assert said - NEVER_SENT <= set(CloseCode)
    assert {4400, 4401, 4406, 4408, 4409, 4429, 1007, 1012} <= said
