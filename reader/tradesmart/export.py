"""Writes what is settled to Parquet or CSV, and only what has changed since."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shared.candles import Timeframe
from shared.sessions import DAY, kst_date, midnight
from tradesmart import frames, layout
from tradesmart.content import Sealing, day_digest, digest
from tradesmart.errors import SourceUnavailable
from tradesmart.exported import open_export
from tradesmart.judgement import microseconds
from tradesmart.layout import LATEST, File, Manifest
from tradesmart.places import open_place
from tradesmart.postgres import Database
from tradesmart.progress import progress
from tradesmart.request import parse
from tradesmart.source import open_source
from tradesmart.writing import CandleWriter, write_table

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator
    from datetime import date
    from pathlib import Path

    from tradesmart.places import Place

Format = Literal["parquet", "csv"]
ENDINGS = {"parquet": "parquet", "csv": "csv.gz"}
# Files that are no part of the export any more stay for readers that have just begun.
KEPT = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export did: files and rows written, files that stayed, files removed."""

    written: int
    rows: int
    unchanged: int
    removed: int
    seconds: float


def export(
    to: str | os.PathLike[str],
    *,
    source: str | os.PathLike[str] | None = None,
    format: Format = "parquet",  # noqa: A002 - the word for it
    keep: timedelta = KEPT,
    quiet: bool = False,
) -> Exported:
    """Write the settled candles of a database into a folder or a bucket.

    Args:
        to: A folder, or ``gs://bucket/path``.
        source: The URL of a database; see ``read_candles``.
        format: "parquet", or "csv" for gzipped CSV files beside the same manifest.
        keep: How long files stay that are no part of the export any more.
        quiet: Whether to show no progress.

    Raises:
        SourceUnavailable: If the source or the target is not there.
        ValueError: If an argument cannot be accepted.
    """
    if format not in {"parquet", "csv"}:
        raise ValueError(f"format must be 'parquet' or 'csv', not {format!r}")
    began = time.monotonic()
    with ExitStack() as stack:
        place = stack.enter_context(open_place(to, writing=True))
        snapshot = stack.enter_context(open_source(source))
        if not isinstance(snapshot, Database):
            message = "an export is made from a database: source must be its URL"
            raise ValueError(message)  # noqa: TRY004 - all arguments are refused alike
        return _Export(snapshot, place, format, quiet=quiet).run(keep, began)


class _Export:
    """One snapshot of a database on its way to one place."""

    def __init__(
        self, database: Database, place: Place, ending: Format, *, quiet: bool
    ) -> None:
        self._database = database
        self._place = place
        self._format = ending
        self._quiet = quiet
        former = place.read(LATEST)
        listed = Manifest.from_json(former, place.name).files if former else []
        self._known = {file.path: file for file in listed}
        self._there = place.paths()
        self._files: list[File] = []
        self._written = self._rows = 0

    def run(self, keep: timedelta, began: float) -> Exported:
        """Write what is not there yet, then the manifest, then remove what is old."""
        tables = {name: self._database.exported(name) for name in layout.TABLES}
        self._ends = _ends(tables["series"])
        for name, table in tables.items():
            self._take_table(self._described(name, "", name, table), table)
        self._take_absences(self._database.exported("absences"))
        self._take_candles(plan(self._database.periods(), self._format))
        self._write_manifest()
        return Exported(
            written=self._written,
            rows=self._rows,
            unchanged=len(self._files) - self._written,
            removed=prune(self._place, keep),
            seconds=time.monotonic() - began,
        )

    def _take_absences(self, table: pa.Table) -> None:
        for timeframe in Timeframe:
            is_part = pc.equal(table.column("timeframe"), timeframe.value)
            part = table.filter(is_part).drop_columns("timeframe")
            if len(part):
                folder = f"absences/timeframe={timeframe}"
                file = self._described("absences", timeframe, folder, part)
                self._take_table(file, part)

    def _described(
        self, kind: str, timeframe: str, folder: str, table: pa.Table
    ) -> File:
        """The file of a small table."""
        name = digest(table)
        return File(
            path=f"{folder}/{name}.{ENDINGS[self._format]}",
            kind=kind,
            timeframe=timeframe,
            digest=name,
            rows=len(table),
            bytes=0,
        )

    def _take_table(self, file: File, table: pa.Table) -> None:
        self._take(file, partial(write_table, table, self._format))

    def _take_candles(self, files: list[File]) -> None:
        rows = layout.total(filter(self._lacks, files))
        with progress(rows, quiet=self._quiet) as advance:
            for file in files:
                self._take(file, partial(self._write, file, advance))

    def _take(self, file: File, write: Callable[[Path], None]) -> None:
        if not self._lacks(file):
            self._files.append(replace(file, bytes=self._known[file.path].bytes))
            return
        with self._place.writing(file.path) as to:
            write(to)
            size = to.stat().st_size
        self._written += 1
        self._rows += file.rows
        self._files.append(replace(file, bytes=size))

    def _lacks(self, file: File) -> bool:
        """Whether a file has to be written: it is not there, or not as it was."""
        known, there = self._known.get(file.path), self._there.get(file.path)
        return known is None or there is None or there[0] != known.bytes

    def _write(self, file: File, advance: Callable[[int], None], to: Path) -> None:
        """Write the candles of one period, and check that they are what was sealed."""
        timeframe = Timeframe(file.timeframe)
        metadata = {
            "tradesmart.contract": f"{layout.CONTRACT}",
            "tradesmart.digest": file.digest,
            "tradesmart.timeframe": file.timeframe,
            "tradesmart.sealed": f"{file.first} {file.last}",
        }
        schema = layout.candle_schema(timeframe, metadata)
        sealing = Sealing(timeframe)
        with CandleWriter(to, schema, self._format) as writer:
            for table in self._settled(timeframe, file.period, schema):
                sealing.add(table)
                writer.add(table)
                advance(len(table))
        if sealing.hexdigest() != file.seals:
            raise SourceUnavailable(
                f"the {timeframe} candles of {file.period} are not those that were "
                "sealed: `make verify` names the sessions that were changed behind the "
                "pipeline's back, and `make migrate` seals what has no seal yet"
            )

    def _settled(
        self, timeframe: Timeframe, period: str, schema: pa.Schema
    ) -> Iterator[pa.Table]:
        """Yield the settled candles of a period, sorted."""
        first = midnight(layout.beginning(period))
        beyond = midnight(layout.end(period))
        request = parse(
            "all",
            timeframe,
            first,
            beyond,
            session="all",
            settled=True,
            require=None,
            tz="UTC",
            columns=None,
            wide=None,
        )
        ends = self._ends[timeframe]
        batches = self._database.candles(
            request, sorted(ends), beyond, schema.names, in_order=True
        )
        for batch in batches:
            table = pa.Table.from_batches([frames.encoded(batch)])
            stocks, names = frames.stocks(table)
            bounds = np.array([ends[name] for name in names], dtype=np.int64)
            is_settled = frames.instants(table) < bounds[stocks]
            yield table if is_settled.all() else table.filter(pa.array(is_settled))

    def _write_manifest(self) -> None:
        read_at = self._database.read_at.astimezone(UTC)
        first, last, version = self._database.span()
        content = Manifest(
            read_at=read_at.isoformat(timespec="seconds"),
            calendar=(f"{first}", f"{last}", version),
            format=self._format,
            files=self._files,
        ).to_json()
        self._place.write_latest(f"manifests/{kst_date(read_at)}.json", content)
        # Last of all: until then readers have what the export before this one made.
        self._place.write_latest(LATEST, content)


def plan(
    periods: list[tuple[str, str, int, date, date, str]], ending: Format
) -> list[File]:
    """The files of candles that an export consists of.

    A day's official close comes from minutes, so a file of days is named by theirs too.
    """
    minutes = [(row[0], row[1], row[5]) for row in periods if row[0].endswith("m")]
    files = []
    for span, period, rows, first, last, seals in periods:
        timeframe = Timeframe(span)
        is_daily = timeframe is Timeframe.DAY_1
        name = day_digest(seals, period, minutes) if is_daily else seals
        files.append(
            File(
                path=layout.candle_path(timeframe, period, name, ENDINGS[ending]),
                kind="candles",
                digest=name,
                seals=seals,
                rows=rows,
                bytes=0,
                timeframe=span,
                period=period,
                first=f"{first}",
                last=f"{last}",
            )
        )
    return files


def verify(of: str | os.PathLike[str]) -> list[str]:
    """Recompute every digest of an export from its content.

    Returns:
        A line for each file that is gone, damaged or not what its name says.

    Raises:
        SourceUnavailable: If there is no export.
    """
    with open_export(of) as found:
        return list(found.broken())


def prune(place: Place, keep: timedelta) -> int:
    """Remove what no manifest of the last time, and no reader of it, needs any more."""
    there = place.paths()
    oldest = time.time() - keep.total_seconds()
    needed: set[str] = set()
    for path, (_, written) in there.items():
        if path.startswith("manifests/") and (path == LATEST or written >= oldest):
            content = place.read(path)
            listed = Manifest.from_json(content, place.name).files if content else []
            needed |= {path, *(file.path for file in listed)}
    removed = [
        path
        for path, (_, written) in there.items()
        if path not in needed and written < oldest and layout.is_ours(path)
    ]
    for path in removed:
        place.remove(path)
    return len(removed)


def _ends(series: pa.Table) -> dict[str, dict[str, int]]:
    """Up to where the candles of each series are final, by timeframe and stock."""
    ends: dict[str, dict[str, int]] = {timeframe: {} for timeframe in Timeframe}
    columns = ("stock_code", "timeframe", "settled_through")
    rows = zip(*(series.column(name).to_pylist() for name in columns), strict=True)
    for code, timeframe, through in rows:
        if through:
            ends[timeframe][code] = microseconds(midnight(through + DAY))
    return ends
