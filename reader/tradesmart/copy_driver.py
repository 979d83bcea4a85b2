"""PostgreSQL by pg8000, where only the Cloud SQL connector reaches.

Candles come by ``COPY … (FORMAT binary)``. Its rows are made equally long, so that
numpy reads all of them at once: slower than ADBC, and much faster than fetching rows.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import numpy as np
import pyarrow as pa

from tradesmart.errors import SourceUnavailable, unanswered

if TYPE_CHECKING:
    from collections.abc import Iterator

# For every answer of the server, a sort of many candles included.
SECONDS = 60
# Before the first row of a COPY, and after the last.
HEADER, TRAILER = 19, 2
# Strings are as long as the longest of them that is copied: "regular".
CHARACTERS = 8
EMPTY = -(2**63)
# From PostgreSQL's year 2000 to 1970, in microseconds.
SINCE_1970 = 946_684_800_000_000
TYPES = {
    16: pa.bool_(),
    20: pa.int64(),
    23: pa.int32(),
    25: pa.string(),
    701: pa.float64(),
    1082: pa.date32(),
    1184: pa.timestamp("us", "UTC"),
}


@contextmanager
def connect(url: str, place: str) -> Iterator[BinaryCopy]:
    """Connect; ``place`` is how errors call the database.

    Raises:
        SourceUnavailable: If it cannot be reached, or does not answer.
    """
    try:
        import pg8000.dbapi as pg8000  # noqa: PLC0415
    except ImportError:
        needed = "cloud-sql-python-connector[pg8000]"
        message = f"{place} needs pg8000: pip install '{needed}'"
        raise SourceUnavailable(message) from None
    with ExitStack() as stack:
        try:
            connection = _open(url, stack)
        except Exception as error:  # noqa: BLE001 - the connector raises of every kind
            raise SourceUnavailable(
                f"no connection to {place}: {_reason(error)}; check the name, the user "
                "and its role, and your login (gcloud auth application-default login)"
            ) from None
        try:
            yield BinaryCopy(connection)
        except (pg8000.Error, OSError) as error:
            raise unanswered(place, _reason(error), _sqlstate(error)) from None
        finally:
            stack.callback(_close, connection)


class BinaryCopy:
    """One connection, in a transaction from its first statement on."""

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - pg8000 has no types
        self._cursor = connection.cursor()

    def execute(self, statement: str) -> None:
        """Execute what returns nothing."""
        self._cursor.execute(statement)

    def table(self, statement: str, schema: pa.Schema | None = None) -> pa.Table:
        """All rows; those of a ``schema`` that is known come faster."""
        if schema is not None:
            batches = list(self.batches(statement, schema))
            found = pa.Table.from_batches(batches) if batches else schema.empty_table()
            return found.cast(schema)
        self._cursor.execute(statement)
        rows = self._cursor.fetchall()
        kinds = [TYPES[column[1]] for column in self._cursor.description]
        names = [column[0] for column in self._cursor.description]
        columns = list(zip(*rows, strict=True)) or [()] * len(names)
        arrays = [pa.array(c, kind) for c, kind in zip(columns, kinds, strict=True)]
        return pa.Table.from_arrays(arrays, names)

    def batches(self, statement: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield all rows, as one batch with the columns of ``schema``."""
        columns = ", ".join(map(_equally_long, schema))
        copy = f"COPY (SELECT {columns} FROM ({statement}) AS wanted)"  # noqa: S608
        received = BytesIO()
        self._cursor.execute(f"{copy} TO STDOUT (FORMAT binary)", stream=received)
        content = received.getbuffer()[HEADER:-TRAILER]
        rows = np.frombuffer(content, dtype=_row(schema))
        if len(rows):
            arrays = [_array(rows[field.name], field.type) for field in schema]
            yield pa.RecordBatch.from_arrays(arrays, schema.names)


def _open(url: str, stack: ExitStack) -> Any:  # noqa: ANN401 - pg8000 has no types
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    if parts.scheme != "cloudsql":
        import pg8000.dbapi as pg8000  # noqa: PLC0415

        return pg8000.connect(
            unquote(parts.username or ""),
            host=parts.hostname or "localhost",
            port=parts.port or 5432,
            database=parts.path.lstrip("/"),
            password=unquote(parts.password) if parts.password else None,
            timeout=SECONDS,
            ssl_context=options.get("sslmode") == "require",
            application_name="tradesmart",
        )
    from google.cloud.sql.connector import Connector  # noqa: PLC0415

    connector = stack.enter_context(Connector(refresh_strategy="lazy"))
    return connector.connect(
        parts.netloc,
        "pg8000",
        user=options.get("user", ""),
        db=parts.path.lstrip("/"),
        ip_type=options.get("ip", "private"),
        enable_iam_auth=True,
        timeout=SECONDS,
        application_name="tradesmart",
    )


def _close(connection: Any) -> None:  # noqa: ANN401 - pg8000 has no types
    # One that was cut cannot be closed, and raises as it likes.
    with suppress(Exception):
        connection.close()


def _equally_long(field: pa.Field) -> str:
    """A column whose values are never null, and all of one length."""
    name = f'"{field.name}"'
    if pa.types.is_string(field.type):
        return f"rpad({name}, {CHARACTERS}) AS {name}"
    if pa.types.is_timestamp(field.type):
        return f"{name}::timestamptz"
    return f"coalesce({name}::bigint, {EMPTY}) AS {name}"


def _row(schema: pa.Schema) -> np.dtype[np.void]:
    """How a row lies in the stream: each value after its length, in network order."""
    kinds = [("columns", ">i2")]
    for field in schema:
        is_text = pa.types.is_string(field.type)
        kinds.append((f"{field.name}, length", ">i4"))
        kinds.append((field.name, f"S{CHARACTERS}" if is_text else ">i8"))
    return np.dtype(kinds)


def _array(values: Any, kind: pa.DataType) -> pa.Array:  # noqa: ANN401 - of any type
    if pa.types.is_string(kind):
        names, numbers = np.unique(values, return_inverse=True)
        texts = [name.decode().rstrip() for name in names]
        indices = pa.array(numbers.astype(np.int32))
        return pa.DictionaryArray.from_arrays(indices, pa.array(texts, pa.string()))
    numbers = values.astype(np.int64)
    if pa.types.is_timestamp(kind):
        return pa.array(numbers + SINCE_1970).cast(kind)
    empty = numbers == EMPTY
    return pa.array(numbers, mask=empty if empty.any() else None).cast(kind)


def _sqlstate(error: Exception) -> str | None:
    told = error.args[0] if error.args else None
    return told.get("C") if isinstance(told, dict) else None


def _reason(error: Exception) -> str:
    told = error.args[0] if error.args else ""
    if isinstance(told, dict):
        told = told.get("M", "")
    lines = str(told).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
