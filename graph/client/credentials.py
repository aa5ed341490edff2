"""The bearer token a client sends: from its source, and read anew when a server does not accept it any more."""

import re
from pathlib import Path
from typing import Final

from graph.client.address import TokenSource
from graph.client.errors import ClientError
from persistence.secret_files import SecretExposed, read_secret

_FIT: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)


class TokenUnusable(ClientError):
    """There is no token where one should be. The message has the place and nothing of the content."""


def fixed_token(token: str) -> TokenSource:
    """Always this one."""
    return lambda: token


def token_file(path: Path) -> TokenSource:
    """What the file holds at each call, so that tokens are renewed by writing it anew. One that others may read is not
    used."""

    def read() -> str:
        try:
            return read_secret(path).decode()
        except SecretExposed as error:
            raise TokenUnusable(f"The token in {path} is not used: the file {error}.") from error
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not a text file"
            raise TokenUnusable(f"The token cannot be read from {path}: {why}.") from error

    return read


class Credentials:
    """The token in use."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._token: str | None = None

    def authorization(self) -> str:
        """The value of the header. Raises TokenUnusable."""
        if self._token is None:
            self._token = self._read(self._source)
        return f"Bearer {self._token}"

    def renewed(self) -> bool:
        """After the token was refused: whether there is another one now. Raises TokenUnusable."""
        before, self._token = self._token, self._read(self._source)
        return self._token != before

    @staticmethod
    def _read(source: TokenSource) -> str:
        try:
            token = source().strip()
        except TokenUnusable:
            raise
        except Exception as error:  # the source is a program's own, and raises what it likes; a later call may succeed
            raise TokenUnusable(f"There is no token to be had: {error}.") from error
        if not _FIT.fullmatch(token):
            raise TokenUnusable(
                "What should be a token is none: it is empty, or not one word of letters, digits and ._~+/-"
            )
        return token
