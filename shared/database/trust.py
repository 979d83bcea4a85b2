"""Connections that are worth trusting: fast, never silent for long, and in step.

pg8000 reads as many answers as it has asked questions, and cannot find its place again.
So a connection on which anything but an error of the server's happened is closed: each
later statement would be given the answer of an earlier one.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from datetime import date, datetime
from random import getrandbits
from typing import TYPE_CHECKING, Any

import pg8000
from sqlalchemy import event
from sqlalchemy.exc import InvalidatePoolError

from shared.database.failures import SEVERITY, SQLSTATE, server_error

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.engine import ExceptionContext

    from shared.settings import DatabaseDeadlines

# PostgreSQL's numbers for its types.
TIMESTAMPTZ, DATE = 1184, 1082
# A network that is gone is noticed by the kernel too, also while nothing is expected:
# asked after 20 s of silence, every 5 s, three times. Not every platform has all names.
KEEP_ALIVE = {
    "TCP_KEEPIDLE": 20,
    "TCP_KEEPALIVE": 20,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 30_000,
    # Without Nagle's algorithm a 900-row statement takes 4 ms instead of 44.
    "TCP_NODELAY": 1,
}
# A statement that was cancelled may have been cut between two steps of pg8000's.
CANCELLED = ("57014", "55P03")
PINGED = "pinged"


def watch(engine: Engine, deadlines: DatabaseDeadlines) -> None:
    """Limit, ping and distrust the connections of an engine."""

    def prepare(connection: Any, record: Any) -> None:  # noqa: ANN401
        _limit(connection._usock, deadlines.silence)  # noqa: SLF001 - tested
        # Instants and dates as ISO 8601, which they are: 20 times faster.
        connection.register_in_adapter(TIMESTAMPTZ, datetime.fromisoformat)
        connection.register_in_adapter(DATE, date.fromisoformat)
        # It has just answered.
        record.info[PINGED] = True

    def ping(connection: Any, record: Any, _proxy: object) -> None:  # noqa: ANN401
        if not record.info.pop(PINGED, False):
            _ping(connection, deadlines)

    event.listen(engine, "connect", prepare)
    event.listen(engine, "checkout", ping)
    event.listen(engine, "handle_error", _distrust)


def _limit(connected: socket.socket, silence: float | None) -> None:
    connected.settimeout(silence)
    if connected.family == getattr(socket, "AF_UNIX", None):
        return
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE.items():
        option = getattr(socket, name, None)
        if option is not None:
            connected.setsockopt(socket.IPPROTO_TCP, option, value)


def _ping(connection: Any, deadlines: DatabaseDeadlines) -> None:  # noqa: ANN401
    """Let the pool replace a connection that is closed, silent or out of step.

    The pool's own ping does not know pg8000's errors of a broken socket, and leaves
    a transaction open, in which a later AUTOCOMMIT statement would be lost.
    """
    question = getrandbits(31)
    usock = connection._usock  # noqa: SLF001
    try:
        usock.settimeout(deadlines.ping)
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(f"SELECT {question}")
        answer = cursor.fetchall()
        connection.autocommit = False
        usock.settimeout(deadlines.silence)
    except Exception as error:
        _cut(connection)
        raise InvalidatePoolError from error
    if answer != ([question],):
        _cut(connection)
        raise InvalidatePoolError


def _distrust(context: ExceptionContext) -> None:
    """Have a connection closed after anything but an ordinary error of the server's."""
    error, connection = context.original_exception, context.connection
    if connection is None or connection.closed or connection.invalidated:
        return
    if _is_ordinary(error):
        return
    context.is_disconnect = True
    # Where one is broken, the others are; a value that cannot be encoded is ours alone.
    is_broken = isinstance(error, OSError | pg8000.InterfaceError)
    context.invalidate_pool_on_disconnect = is_broken
    _cut(connection.connection.dbapi_connection)


def _is_ordinary(error: BaseException) -> bool:
    fields = server_error(error) or {}
    return fields.get(SEVERITY) == "ERROR" and fields.get(SQLSTATE) not in CANCELLED


def _cut(connection: Any) -> None:  # noqa: ANN401
    """Make sure that no more is sent: a farewell to a silent server would wait too."""
    with suppress(OSError, AttributeError):
        connection._usock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001
