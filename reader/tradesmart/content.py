"""What an export's names stand for: SHA-256 of content, the same on every machine.

A seal is the digest of the candles of one session of a series, as lines
``epoch,open,high,low,close,volume,turnover,session``. A file of candles is named by the
digest of its seals in order. Nothing of how Parquet lays it out is part of that.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shared.sessions import AFTER_MARKET_SINCE
from tradesmart import frames

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from shared.candles import Timeframe
    from tradesmart.judgement import Instants

SEALED = ("open", "high", "low", "close", "volume", "turnover", "session")
KST_OFFSET = 9 * 3600 * 1_000_000
DAY = 24 * 3600 * 1_000_000
EPOCH = np.datetime64("1970-01-01", "D")


def text(columns: Iterable[pa.Array]) -> pa.Buffer:
    """All rows as UTF-8, with commas, and a line feed between them; null is empty."""
    strings = [column.cast(pa.string()) for column in columns]
    rows = pc.binary_join_element_wise(
        *strings, ",", null_handling="replace", null_replacement=""
    )
    whole = pa.ListArray.from_arrays(pa.array([0, len(rows)], pa.int32()), rows)
    return pc.binary_join(whole, "\n")[0].as_buffer()


def digest(table: pa.Table) -> str:
    """SHA-256 of the rows of a small table, in their order."""
    found = sha256(",".join(table.column_names).encode() + b"\n")
    for batch in table.to_batches():
        found.update(text(batch.columns))
        found.update(b"\n")
    return found.hexdigest()


def sealed_on(timeframe: Timeframe, instants: Instants) -> Instants:
    """The day of the seal that each candle is under, in days since 1970.

    It is the session; of days and weeks, the first day of their calendar year.
    """
    days = (instants + KST_OFFSET) // DAY
    if timeframe.minutes:
        return days
    years = (EPOCH + days).astype("M8[Y]")
    first: Instants = (years.astype("M8[D]") - EPOCH).astype(np.int64)
    return first


class Sealing:
    """Seals the candles of one file as they pass by, sorted by stock and opening."""

    def __init__(self, timeframe: Timeframe) -> None:
        self._timeframe = timeframe
        self._whole = sha256()
        self._open: tuple[str, int] | None = None
        self._seal = sha256()
        self._candles = 0

    def add(self, table: pa.Table) -> None:
        """Take the next candles, with the columns of a file."""
        if not len(table):
            return
        opened = frames.instants(table)
        epochs = pa.array(opened // 1_000_000)
        columns = [table.column(name).combine_chunks() for name in SEALED]
        rows = text([epochs, *columns])
        breaks = np.flatnonzero(np.frombuffer(rows, dtype=np.uint8) == ord("\n")) + 1
        ends = np.append(breaks, len(rows))
        content = memoryview(rows)
        for key, first, beyond in self._parts(table, opened):
            if key != self._open:
                self._close()
                self._open = key
            begin = 0 if first == 0 else int(ends[first - 1])
            self._seal.update(content[begin : int(ends[beyond - 1])])
            if beyond == len(table):
                self._seal.update(b"\n")
            self._candles += beyond - first

    def hexdigest(self) -> str:
        """The digest of all seals in order."""
        self._close()
        self._open = None
        return self._whole.hexdigest()

    def _close(self) -> None:
        if self._open is None:
            return
        code, day = self._open
        line = f"{code},{EPOCH + day},{self._candles},{self._seal.hexdigest()}\n"
        self._whole.update(line.encode())
        self._seal, self._candles = sha256(), 0

    def _parts(
        self, table: pa.Table, opened: Instants
    ) -> Iterator[tuple[tuple[str, int], int, int]]:
        """The rows under one seal each."""
        owners, names = frames.stocks(table)
        days = sealed_on(self._timeframe, opened)
        changes = (owners[1:] != owners[:-1]) | (days[1:] != days[:-1])
        begins = [0, *(np.flatnonzero(changes) + 1).tolist(), len(table)]
        for first, beyond in pairwise(begins):
            yield (names[owners[first]], int(days[first])), first, beyond


def day_digest(seals: str, year: str, minutes: list[tuple[str, str, str]]) -> str:
    """The name of a file of days: its seals, and those of minutes with its closes."""
    since = f"{AFTER_MARKET_SINCE:%Y-%m}"
    closes = [
        f"{timeframe},{month},{digest}\n"
        for timeframe, month, digest in sorted(minutes)
        if month.startswith(year) and month >= since
    ]
    if not closes:
        return seals
    return sha256("".join([seals, "\n", *closes]).encode()).hexdigest()
