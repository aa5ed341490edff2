"""Errors of SQLAlchemy, and of the driver below it, translated once into the store's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError, InvalidRequestError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from persistence.errors import Overloaded, StoreError
from persistence.postgres import driver_errors
from persistence.postgres.driver_errors import (
    first_line,
    is_unanswered,
    translation,
    unanswered,
    unreachable,
)

_GIVEN_UP: Final = "This connection is closed"  # of a pool: three connections in a row were not to be used


@contextmanager
def translated() -> Iterator[None]:
    """Run database work; whatever goes wrong below leaves as a StoreError."""
    try:
        with driver_errors.translated():
            yield
    except DBAPIError as error:
        raise translation(error.orig) from error
    except PoolTimeoutError as error:
        raise Overloaded(f"all connections to the database are busy: {first_line(error)}") from error
    except InvalidRequestError as error:
        if _GIVEN_UP in str(error):
            raise unreachable(error) from error
        raise StoreError(f"the database layer failed: {first_line(error)}") from error
    except SQLAlchemyError as error:
        raise StoreError(f"the database layer failed: {first_line(error)}") from error


@contextmanager
def committing() -> Iterator[None]:
    """`driver_errors.committing`, for a call by a session or a connection of SQLAlchemy's."""
    try:
        with driver_errors.committing():
            yield
    except DBAPIError as error:
        # What the driver raised says more than the class that it was mapped to.
        cause = getattr(error.orig, "__cause__", None) or error
        if is_unanswered(cause):
            raise unanswered(cause) from error
        raise
