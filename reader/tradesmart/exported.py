"""Reads an export as if it were the database at the instant at which it was made."""

from __future__ import annotations

import functools
import operator
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shared.candles import Timeframe
from shared.sessions import KST, Calendar, midnight
from tradesmart import frames, layout
from tradesmart.content import Sealing, day_digest, digest
from tradesmart.errors import SourceUnavailable
from tradesmart.frames import INSTANT
from tradesmart.knowledge import around, assemble, facts_of
from tradesmart.layout import LATEST, Manifest
from tradesmart.places import open_place

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from datetime import datetime, time

    from tradesmart.judgement import Known
    from tradesmart.layout import File
    from tradesmart.places import Place
    from tradesmart.request import Request

NO_ABSENCES = pa.schema(
    {"stock_code": pa.string(), "opened_at": INSTANT, "confirmations": pa.int32()}
)
# Stocks that are read together from all files where candles are wanted in their order.
TOGETHER = 50


@contextmanager
def open_export(named: str | os.PathLike[str]) -> Iterator[Export]:
    """Open the export in a folder or a bucket.

    Raises:
        SourceUnavailable: If there is none, or it is not readable by this package.
    """
    with open_place(named) as place:
        content = place.read(LATEST)
        if content is None:
            raise SourceUnavailable(
                f"there is no export in {place.name}: make one with "
                f"`make export TO={place.name}`"
            )
        manifest = Manifest.from_json(content, place.name)
        if manifest.format != "parquet":
            raise SourceUnavailable(
                f"the export in {place.name} is of {manifest.format}, and only Parquet "
                "is read: export again with format='parquet' into another folder"
            )
        yield Export(place, manifest)


class Export:
    """A snapshot in files, each of which never changes.

    ``damaged`` are files that were found to be lacking or unreadable; their candles
    are taken as missing.
    """

    def __init__(self, place: Place, manifest: Manifest) -> None:
        self.read_at = manifest.instant
        self.damaged: list[str] = []
        self._place = place
        self._manifest = manifest

    def stocks(self) -> pa.Table:
        """All stocks, in the order of their codes."""
        return self._table("stocks")

    def sessions(self) -> pa.Table:
        """All sessions of the calendar, in their order."""
        return self._table("sessions")

    def actions(self) -> pa.Table:
        """All corporate actions, by stock, timeframe and day."""
        return self._table("actions")

    def covered(self, timeframe: Timeframe) -> list[str]:
        """Codes of the stocks that have a series of ``timeframe``."""
        codes: list[str] = self._series(timeframe).column("stock_code").to_pylist()
        return sorted(codes)

    def calendar(self, first: date | None, last: date) -> Calendar:
        """The calendar around the days from ``first`` to ``last``."""
        known_from, known_to, version = self._manifest.calendar
        begins, ends = around(
            first, last, date.fromisoformat(known_from), date.fromisoformat(known_to)
        )
        table = self.sessions()
        days = table.column("session_date")
        wanted = pc.and_(pc.greater_equal(days, begins), pc.less_equal(days, ends))
        rows = table.filter(wanted).select(["session_date", "opens_at", "closes_at"])
        sessions = {
            day: (_clock(opens), _clock(closes))
            for day, opens, closes in zip(
                *(column.to_pylist() for column in rows.columns), strict=True
            )
        }
        return Calendar(sessions, begins, ends, version)

    def known(self, request: Request, codes: Sequence[str]) -> list[Known]:
        """What is known of the series of these stocks, in the order of ``codes``."""
        stocks = self.stocks().select(
            ["stock_code", "listed", "halted", "listed_on", "is_target"]
        )
        joined = self._series(request.timeframe).join(stocks, "stock_code")
        facts = {row["stock_code"]: facts_of(row) for row in joined.to_pylist()}
        absences = self._absences(request)
        quiet: list[tuple[str, date]] = []
        if request.timeframe.minutes:
            days = self._table("quiet").columns
            quiet = list(zip(*(column.to_pylist() for column in days), strict=True))
        return assemble(codes, facts, absences, quiet)

    def candles(
        self,
        request: Request,
        codes: Sequence[str],
        beyond: datetime | None,
        names: Sequence[str],
        *,
        in_order: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        """Yield candles that open before ``beyond``, with these columns."""
        files = self._files(request, beyond)
        size = TOGETHER if in_order and len(files) > 1 else max(len(codes), 1)
        groups = [list(codes[at : at + size]) for at in range(0, len(codes), size)]
        for group in groups:
            read = [self._read(file, request, group, beyond, names) for file in files]
            tables = [table for table in read if table is not None]
            if not tables:
                continue
            table = pa.concat_tables(tables)
            yield from (frames.in_order(table) if in_order else table).to_batches()

    def broken(self) -> Iterator[str]:
        """Recompute all digests; yield a line for each file that is not its content."""
        minutes = [
            (file.timeframe, file.period, file.seals)
            for file in self._manifest.files
            if file.kind == "candles" and file.timeframe.endswith("m")
        ]
        for file in self._manifest.files:
            try:
                found = self._digest(file, minutes)
            except (pa.ArrowException, OSError) as error:
                found = f"unreadable ({str(error).splitlines()[0]})"
            if found != file.digest:
                yield f"{file.path}: {found or 'gone, or not as long as it was'}"

    def _digest(self, file: File, minutes: list[tuple[str, str, str]]) -> str | None:
        path = self._place.local(file.path, file.bytes)
        if path is None:
            return None
        with pq.ParquetFile(path, page_checksum_verification=True) as content:
            if file.kind != "candles":
                return digest(content.read())
            timeframe = Timeframe(file.timeframe)
            sealing = Sealing(timeframe)
            for batch in content.iter_batches(layout.ROW_GROUP):
                sealing.add(pa.Table.from_batches([batch]))
        seals = sealing.hexdigest()
        if timeframe is Timeframe.DAY_1:
            return day_digest(seals, file.period, minutes)
        return seals

    def _files(self, request: Request, beyond: datetime | None) -> list[File]:
        """The files that may hold candles of a request."""
        return [
            file
            for file in self._manifest.of("candles", request.timeframe)
            if (beyond is None or midnight(layout.beginning(file.period)) < beyond)
            and (
                request.first is None
                or midnight(layout.end(file.period)) > request.first
            )
        ]

    def _read(
        self,
        file: File,
        request: Request,
        codes: Sequence[str],
        beyond: datetime | None,
        names: Sequence[str],
    ) -> pa.Table | None:
        """The candles of one file that are wanted; None if it is damaged."""
        if file.path in self.damaged:
            return None
        conditions = [pc.field("stock_code").isin(codes)]
        opened = pc.field("opened_at")
        if request.first is not None:
            conditions.append(opened >= pa.scalar(request.first, INSTANT))
        if beyond is not None:
            conditions.append(opened < pa.scalar(beyond, INSTANT))
        if request.session != "all" and request.timeframe.minutes:
            conditions.append(pc.field("session") == request.session)
        wanted = functools.reduce(operator.and_, conditions)
        table = self._parquet(file, columns=list(names), filters=wanted)
        if table is None:
            self.damaged.append(file.path)
        return table

    def _parquet(self, file: File, **options: object) -> pa.Table | None:
        """The content of a file; None if it is not there, or not as it was written."""
        path = self._place.local(file.path, file.bytes)
        if path is None:
            return None
        try:
            # The timeframe in the path is no column.
            return pq.read_table(
                path, partitioning=None, page_checksum_verification=True, **options
            )
        except (pa.ArrowException, OSError):
            return None

    def _table(self, kind: str, timeframe: str = "") -> pa.Table:
        """One of the tables that are read whole.

        Raises:
            SourceUnavailable: If it is damaged.
        """
        files = self._manifest.of(kind, timeframe)
        table = self._parquet(files[0]) if files else None
        if table is None:
            told = files[0].path if files else kind
            raise SourceUnavailable(
                f"{told} in {self._place.name} is damaged or gone; export again: what "
                "is damaged is written anew"
            )
        return table

    def _series(self, timeframe: Timeframe) -> pa.Table:
        table = self._table("series")
        return table.filter(pc.equal(table.column("timeframe"), timeframe.value))

    def _absences(self, request: Request) -> pa.Table:
        if not self._manifest.of("absences", request.timeframe):
            return NO_ABSENCES.empty_table()
        table = self._table("absences", request.timeframe)
        opened = table.column("opened_at")
        if request.first is not None:
            since = pc.greater_equal(opened, pa.scalar(request.first, INSTANT))
            table = table.filter(since)
        return table


def _clock(instant: datetime) -> time:
    """The time of day in Seoul, by Korean Standard Time."""
    return instant.astimezone(KST).time()
