"""PostgreSQL by ADBC: rows come as Arrow, by ``COPY``."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import adbc_driver_manager
import adbc_driver_postgresql.dbapi as adbc

from tradesmart.errors import SourceUnavailable, unanswered

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

CONNECT_SECONDS = 10
# What stands before the reason in a line of libpq or PostgreSQL.
SAID = re.compile(r"(?:FATAL|ERROR|failed|error|Failed to connect): *")


@contextmanager
def connect(url: str, place: str) -> Iterator[Adbc]:
    """Connect; ``place`` is how errors call the database.

    Raises:
        SourceUnavailable: If it cannot be reached, or does not answer.
    """
    try:
        connection = adbc.connect(_uri(url))
    except adbc_driver_manager.Error as error:
        raise SourceUnavailable(
            f"no connection to {place}: {_reason(error)}; check that it runs and that "
            "the URL is right"
        ) from None
    try:
        yield Adbc(connection)
    except adbc_driver_manager.Error as error:
        raise unanswered(place, _reason(error), error.sqlstate) from None
    finally:
        connection.close()


class Adbc:
    """One connection, in a transaction from its first statement on."""

    def __init__(self, connection: adbc.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str) -> None:
        """Execute what returns nothing."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement)

    def table(self, statement: str, schema: pa.Schema | None = None) -> pa.Table:
        """All rows."""
        del schema
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetch_arrow_table()

    def batches(self, statement: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the rows while they arrive."""
        del schema
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            yield from cursor.fetch_record_batch()


def _uri(url: str) -> str:
    parts = urlsplit(url)
    options = {
        "connect_timeout": f"{CONNECT_SECONDS}",
        "application_name": "tradesmart",
    }
    query = urlencode(options | dict(parse_qsl(parts.query)))
    return urlunsplit(parts._replace(scheme="postgresql", query=query))


def _reason(error: Exception) -> str:
    """The reason among the lines that the driver says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if SAID.search(line)), "no reason was given")
    return SAID.split(told)[-1].rstrip(".")
