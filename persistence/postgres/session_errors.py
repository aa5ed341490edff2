"""Errors of SQLAlchemy, and of the driver below it, translated once into the store's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from persistence.errors import StoreError
from persistence.postgres import driver_errors
from persistence.postgres.driver_errors import first_line, translation, unreachable


@contextmanager
def translated() -> Iterator[None]:
    """Run database work; whatever goes wrong below leaves as a StoreError."""
    try:
        with driver_errors.translated():
            yield
    except DBAPIError as error:
        raise translation(error.orig) from error
    except PoolTimeoutError as error:
        raise unreachable(error) from error
    except SQLAlchemyError as error:
        raise StoreError(f"the database layer failed: {first_line(error)}") from error
