"""Candles and tables as files: the same rows give the same bytes."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tradesmart import content, layout

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

COMPRESSED = 6
SEOUL = pa.scalar(9 * 3600 * 1_000_000, pa.int64())


class CandleWriter:
    """Writes sorted candles; row groups are full, however the candles arrive."""

    def __init__(self, to: Path, schema: pa.Schema, ending: str) -> None:
        self._schema = schema
        self._waiting: list[pa.Table] = []
        self._rows = 0
        self._file = _Parquet(to, schema) if ending == "parquet" else _Csv(to, schema)

    def __enter__(self) -> Self:
        """Nothing is written before there are rows."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write the rest, unless something went wrong."""
        if kind is None and self._rows:
            self._file.write(self._taken(self._rows))
        self._file.close()

    def add(self, table: pa.Table) -> None:
        """Take the next candles."""
        self._waiting.append(table.cast(self._schema))
        self._rows += len(table)
        while self._rows >= layout.ROW_GROUP:
            self._file.write(self._taken(layout.ROW_GROUP))

    def _taken(self, rows: int) -> pa.Table:
        table = pa.concat_tables(self._waiting)
        taken, rest = table.slice(0, rows), table.slice(rows)
        self._waiting, self._rows = [rest], len(rest)
        return taken.combine_chunks()


def write_table(table: pa.Table, ending: str, to: Path) -> None:
    """Write a small table."""
    if ending == "csv":
        file = _Csv(to, table.schema)
        file.write(table)
        file.close()
        return
    # What a driver has to say of its types is no part of the content.
    plain = pa.schema([pa.field(field.name, field.type) for field in table.schema])
    pq.write_table(
        table.cast(plain),
        to,
        compression=layout.PARQUET["compression"],
        compression_level=layout.PARQUET["compression_level"],
        version=layout.PARQUET["version"],
        write_page_checksum=True,
    )


class _Parquet:
    def __init__(self, to: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(
            to, schema, column_encoding=layout.encodings(schema), **layout.PARQUET
        )

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table, row_group_size=layout.ROW_GROUP)

    def close(self) -> None:
        self._writer.close()


class _Csv:
    """Gzipped, without a name or a time in it; instants are ISO 8601 in Seoul."""

    def __init__(self, to: Path, schema: pa.Schema) -> None:
        self._raw = to.open("wb")
        self._file = gzip.GzipFile("", "wb", COMPRESSED, self._raw, mtime=0)
        self._file.write(",".join(schema.names).encode() + b"\n")

    def write(self, table: pa.Table) -> None:
        columns = [_told(table.column(name)) for name in table.column_names]
        self._file.write(content.text(columns))
        self._file.write(b"\n" if len(table) else b"")

    def close(self) -> None:
        self._file.close()
        self._raw.close()


def _told(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    if pa.types.is_timestamp(array.type):
        local = pc.add(array.cast(pa.int64()), SEOUL).cast(pa.timestamp("us"))
        seconds = local.cast(pa.timestamp("s"), safe=False)
        told = pc.strftime(seconds, "%Y-%m-%dT%H:%M:%S")
        is_whole = pc.equal(seconds.cast(pa.timestamp("us")), local)
        # Candles open on a minute; when a series was asked for is told to a millionth.
        if not pc.all(is_whole).as_py():
            exact = pc.strftime(local, "%Y-%m-%dT%H:%M:%S")
            told = pc.if_else(is_whole, told, exact)
        return pc.binary_join_element_wise(told, "+09:00", "")
    if pa.types.is_string(array.type):
        return _quoted(array)
    return array.cast(pa.string())


def _quoted(array: pa.Array) -> pa.Array:
    """Strings that a comma, a quote or a line break would spoil, in quotes."""
    spoilt = pc.match_substring_regex(array, '[",\\n]')
    quoted = pc.binary_join_element_wise(
        '"', pc.replace_substring(array, '"', '""'), '"', ""
    )
    return pc.if_else(spoilt, quoted, array)
