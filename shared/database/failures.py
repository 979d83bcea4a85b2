"""What errors of the driver mean to the pipeline."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pg8000
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.errors import DatabaseMisconfigured, DatabaseUnavailable, PipelineError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Errors of these classes pass: connection, resources, operator, serialization, a lock
# that was not granted, a transaction that was left alone.
PASSING_SQLSTATES = ("08", "53", "57", "40", "55P03", "25P03")
# What an operator has to change.
REMEDIES = {
    "28": "check user and password, or the account's IAM user in Cloud SQL",
    "3D": "create the database, or correct its name",
    "42501": "let the migrator grant the account its role: make migrate",
}
# How pg8000 says that it and the server cannot agree on how to sign in.
NO_SIGN_IN = ("server requesting", "Server refuses", "Authentication method")
# The fields of a server's error.
SEVERITY, SQLSTATE, MESSAGE = "V", "C", "M"


def server_error(error: BaseException | None) -> dict[str, str] | None:
    """The fields of an error that PostgreSQL itself has sent; None for all others."""
    if not isinstance(error, pg8000.Error) or not error.args:
        return None
    fields: Any = error.args[0]
    return fields if isinstance(fields, dict) else None


@contextmanager
def translated() -> Iterator[None]:
    """Turn what passes, and what an operator has to change, into our own errors."""
    try:
        yield
    except PoolTimeout:
        message = "all connections of the pool are in use"
        raise DatabaseUnavailable(message) from None
    except DBAPIError as error:
        foreseen = _foreseen(error)
        if foreseen is None:
            raise
        raise foreseen from error
    except OSError as error:
        message = f"PostgreSQL cannot be reached ({type(error).__name__})"
        raise DatabaseUnavailable(message) from error


def _foreseen(error: DBAPIError) -> PipelineError | None:
    fields = server_error(error.orig)
    if fields is not None:
        return _refused(fields)
    if not isinstance(error.orig, pg8000.Error):
        return None
    said = str(error.orig)
    if said.startswith(NO_SIGN_IN):
        return DatabaseMisconfigured(said, "correct DATABASE_URL")
    message = f"PostgreSQL cannot be reached ({type(error.orig).__name__})"
    return DatabaseUnavailable(message)


def _refused(fields: dict[str, str]) -> PipelineError | None:
    state, said = fields.get(SQLSTATE, ""), fields.get(MESSAGE, "")
    if state.startswith(PASSING_SQLSTATES):
        return DatabaseUnavailable(f"PostgreSQL gave up: {said} ({state})")
    for beginning, remedy in REMEDIES.items():
        if state.startswith(beginning):
            return DatabaseMisconfigured(f"PostgreSQL refused: {said}", remedy)
    return None
